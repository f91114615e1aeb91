import Foundation
import Glibc

/// Prints every figure of the engine beside that of its peer, measured in the same process on the same disk.
@main
struct Main {
    static func main() async {
        do {
            let options = try Options(Array(CommandLine.arguments.dropFirst()))
            try await run(options)
        } catch let error as Usage {
            write("\(error.message)\n\n\(Options.usage)\n", to: .standardError)
            exit(64)
        } catch {
            write("workflow-bench: \(error)\n", to: .standardError)
            exit(1)
        }
    }

    private static func run(_ options: Options) async throws {
        if let path = options.memoryProbe {
            write("\(try await StartUpBenchmark.peakMemory(opening: path))\n", to: .standardOutput)
            return
        }
        let disk = try BenchmarkDirectory(parent: options.directory)
        let result: Result<Report, any Error>
        do {
            result = .success(try await measure(options, disk))
        } catch {
            result = .failure(error)
        }
        try disk.remove()
        let report = try result.get()
        switch options.json {
        case nil: write(report.text, to: .standardOutput)
        case "-":
            write(report.text, to: .standardError)
            write(try report.json(), to: .standardOutput)
        case .some(let path):
            write(report.text, to: .standardOutput)
            try Data(try report.json().utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
        }
    }

    private static func measure(_ options: Options, _ disk: BenchmarkDirectory) async throws -> Report {
        var report = Report(options: options, directory: disk.path)
        if options.measures("commits") { report.figures += try await CommitBenchmark(options, disk).figures() }
        if options.measures("startup") { report.figures += try await StartUpBenchmark(options, disk).figures() }
        if options.measures("idle") { report.figures += try await IdleBenchmark(options, disk).figures() }
        if let address = options.postgres, options.measures("postgres") {
            let server = try await PostgresServer(address, parent: disk.path)
            report.postgres = try await server.version()
            do {
                report.figures += try await PostgresCommitBenchmark(options, server).figures()
                report.figures += try await PostgresQueueBenchmark(options, server).figures()
            } catch {
                try server.stop()
                throw error
            }
            try server.stop()
        }
        return report
    }

    private static func write(_ text: String, to stream: FileHandle) {
        stream.write(Data(text.utf8))
    }
}
