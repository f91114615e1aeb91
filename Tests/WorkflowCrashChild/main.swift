/// A process for tests to kill. Usage: WorkflowCrashChild run|hold DATABASE WORLD
///
/// `run` takes up the only run of the database, or starts one, and prints its result. `hold` starts one that waits.
/// With CRASH_AT=POINT×N in the environment it kills itself at the N-th passing of a crash point; with TRACE=1 it
/// prints every passing.
import Foundation
import Glibc
import Logging
import Synchronization
import Workflow

let arguments = CommandLine.arguments
guard arguments.count == 4 else {
    FileHandle.standardError.write(Data("usage: WorkflowCrashChild run|hold DATABASE WORLD\n".utf8))
    exit(64)
}
let world = DiskWorld(directory: arguments[3])
let passings = Mutex<[CrashPoint: Int]>([:])
let target = ProcessInfo.processInfo.environment["CRASH_AT"]
let isTracing = ProcessInfo.processInfo.environment["TRACE"] != nil

@Sendable func say(_ line: String) {
    FileHandle.standardOutput.write(Data((line + "\n").utf8))
}

@Sendable func probe(_ point: CrashPoint) {
    let count = passings.withLock { passings in
        passings[point, default: 0] += 1
        return passings[point, default: 0]
    }
    let passing = "\(point)×\(count)"
    if isTracing { say("passed \(passing)") }
    if passing == target { kill(getpid(), SIGKILL) }
}

var logger = Logger(label: "child")
logger.logLevel = .critical
let engine = try await Engine(
    store: .sqlite(path: arguments[2]),
    configuration: EngineConfiguration(
        logger: logger, ownerDescription: "child", cancellationPollInterval: .milliseconds(100), probe: probe))
do {
    if arguments[1] == "hold" {
        let handle = try await engine.start(Holding(world: world), input: 1)
        say("holding \(handle.id)")
        say("result \(try await handle.result())")
    } else {
        let handle: RunHandle<Int>?
        if let run = try await engine.runs().first {
            handle = run.recordedStatus.isFinished ? nil : try await engine.resume(run.id, as: Disk(world: world))
        } else {
            handle = try await engine.start(Disk(world: world), input: 40)
        }
        if let handle { say("result \(try await handle.result())") }
    }
} catch let error as WorkflowError where error.code == .cancelled {
    say("cancelled")
}
await engine.shutdown()
