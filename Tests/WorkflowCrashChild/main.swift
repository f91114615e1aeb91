/// A process for tests to kill and stop. Usage: WorkflowCrashChild MODE STORE WORLD [COUNT]; see `Mode`. STORE is a file or a PostgreSQL address.
///
/// With CRASH_AT=POINT×N in the environment it kills itself at the N-th passing of a crash point; with TRACE=1 it
/// prints every passing.
import Foundation
import Glibc
import Logging
import Synchronization
import Workflow

let arguments = CommandLine.arguments
guard arguments.count >= 4, let mode = Mode(rawValue: arguments[1]) else {
    FileHandle.standardError.write(Data("usage: WorkflowCrashChild MODE STORE WORLD [COUNT]\n".utf8))
    exit(64)
}
let count = arguments.count > 4 ? Int(arguments[4]) ?? 1 : 1
let passings = Mutex<[CrashPoint: Int]>([:])
let target = ProcessInfo.processInfo.environment["CRASH_AT"]
let isTracing = ProcessInfo.processInfo.environment["TRACE"] != nil

@Sendable func probe(_ point: CrashPoint) {
    let count = passings.withLock { passings in
        passings[point, default: 0] += 1
        return passings[point, default: 0]
    }
    let passing = "\(point)×\(count)"
    if isTracing { say("passed \(passing)") }
    if passing == target { kill(getpid(), SIGKILL) }
}

// A child whose test has died would fight on for ever.
let parent = getppid()
Thread.detachNewThread {
    while getppid() == parent { sleep(1) }
    exit(70)
}

var logger = Logger(label: "child")
logger.logLevel = .critical
do {
    var store = StoreConfiguration.named(arguments[2])
    // The one of the tests' stories.
    store.leaseTerm = .seconds(1)
    let engine = try await Engine(
        store: store,
        configuration: EngineConfiguration(
            logger: logger, ownerDescription: "child", cancellationPollInterval: .milliseconds(100), probe: probe))
    do {
        try await mode.execute(engine, DiskWorld(directory: arguments[3]), count)
    } catch let error as WorkflowError where [.cancelled, .takenOver, .storeUnavailable].contains(error.code) {
        say("\(error.code)")
    }
    await engine.shutdown()
} catch {
    let code = (error as? WorkflowError).map { "\($0.code)" } ?? "unknown"
    say("error \(code): \(error)")
    exit(1)
}
