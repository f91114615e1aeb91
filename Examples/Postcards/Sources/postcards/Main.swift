import Dispatch
import Foundation
import Glibc
import Workflow

/// `postcards start NAME…`, `postcards resume ID`, `postcards ls`
@main
struct Main {
    static let usage = """
        usage: postcards start NAME…     print and mail one card a name
               postcards resume ID       go on with a run; any unique beginning of its id will do
               postcards ls              list the runs
        In the environment: POSTCARDS_HOME (default ./postcards-home), POSTCARDS_PACE (milliseconds a card, default 500)
        """

    static func main() async {
        do {
            exit(try await run(Array(CommandLine.arguments.dropFirst())))
        } catch {
            say("error: \(error)", to: stderr)
            exit(1)
        }
    }

    /// - Returns: the exit code.
    private static func run(_ arguments: [String]) async throws -> Int32 {
        let environment = ProcessInfo.processInfo.environment
        let home = environment["POSTCARDS_HOME"] ?? FileManager.default.currentDirectoryPath + "/postcards-home"
        let postcards = Postcards(workshop: "\(home)/workshop") { say($0, to: stdout) }
        guard let verb = arguments.first else {
            say(usage, to: stderr)
            return 64
        }
        let engine = try await Engine(store: .sqlite(path: "\(home)/workflow.sqlite"))
        let signals = [SIGINT, SIGTERM].map { interrupt(engine, on: $0) }
        defer { for signal in signals { signal.cancel() } }
        let code: Int32
        switch (verb, arguments.dropFirst()) {
        case ("start", let names) where !names.isEmpty:
            let pace = environment["POSTCARDS_PACE"].flatMap { Int($0) } ?? 500
            let order = Postcards.Order(
                names: Array(names), mailbox: "\(home)/mailbox", pace: min(max(pace, 0), 60_000))
            code = try await finish(engine.start(postcards, input: order))
        case ("resume", let rest) where rest.count == 1:
            code = try await finish(engine.resume(find(rest.first ?? "", in: engine), as: postcards))
        case ("ls", let rest) where rest.isEmpty:
            for run in try await engine.runs() {
                say("\(run.id)  \(run.status)  epoch \(run.epoch)", to: stdout)
            }
            code = 0
        default:
            say(usage, to: stderr)
            code = 64
        }
        await engine.shutdown()
        return code
    }

    private static func find(_ prefix: String, in engine: Engine) async throws -> RunID {
        let found = try await engine.find(prefix: prefix)
        guard let run = found.first, found.count == 1 else {
            throw TerminalError("\(found.count) runs begin with '\(prefix)': see postcards ls")
        }
        return run.id
    }

    private static func finish(_ handle: RunHandle<String>) async throws -> Int32 {
        say("run \(handle.id)", to: stdout)
        do {
            say("done: \(try await handle.result())", to: stdout)
            return 0
        } catch let error as WorkflowError where error.code == .interrupted {
            say("interrupted; go on with: postcards resume \(handle.id)", to: stderr)
            return 75
        }
    }

    /// Tells the runs that the process is to stop: progress is written, nothing is released.
    private static func interrupt(_ engine: Engine, on number: Int32) -> any DispatchSourceSignal {
        signal(number, SIG_IGN)
        let source = DispatchSource.makeSignalSource(signal: number)
        source.setEventHandler { Task { await engine.interrupt() } }
        source.resume()
        return source
    }

    private enum Stream { case output, errors }
    private static var stdout: Stream { .output }
    private static var stderr: Stream { .errors }

    /// Written at once: a killed process flushes nothing.
    private static func say(_ line: String, to stream: Stream) {
        let handle = stream == .output ? FileHandle.standardOutput : FileHandle.standardError
        handle.write(Data((line + "\n").utf8))
    }
}
