import Foundation
import Glibc
import Logging
import Workflow

/// A directory on the disk that is measured, for as long as the program runs.
final class BenchmarkDirectory {
    let path: String
    private var next = 0

    init(parent: String) throws {
        let url = URL(fileURLWithPath: parent).appending(path: "workflow-bench-\(UUID().uuidString.lowercased())")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        path = url.path
    }

    /// A path for a new database.
    func database() -> String {
        next += 1
        return "\(path)/\(next)/store.sqlite"
    }

    /// A path for a new database whose directory exists.
    func plainDatabase() throws -> String {
        let database = database()
        let folder = URL(fileURLWithPath: database).deletingLastPathComponent()
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return database
    }

    func remove() throws {
        try FileManager.default.removeItem(atPath: path)
    }
}

/// An engine that logs errors only.
func openEngine(_ path: String) async throws -> Engine { try await openEngine(.sqlite(path: path)) }

func openEngine(_ store: StoreConfiguration) async throws -> Engine {
    var logger = Logger(label: "workflow-bench")
    logger.logLevel = .error
    return try await Engine(store: store, configuration: EngineConfiguration(logger: logger))
}

/// The wall-clock seconds that `body` takes.
func seconds(_ body: () async throws -> Void) async rethrows -> Double {
    let clock = ContinuousClock()
    let start = clock.now
    try await body()
    return start.duration(to: clock.now).inSeconds
}

/// The processor time of this process so far, in seconds.
func processorSeconds() -> Double {
    var usage = rusage()
    getrusage(RUSAGE_SELF.rawValue, &usage)
    func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
    return seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

extension Duration {
    var inSeconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) / 1e18
    }
}
