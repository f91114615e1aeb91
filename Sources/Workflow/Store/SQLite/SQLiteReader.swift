import GRDB
import Synchronization

/// The thread with the read-only connection: reading never waits for a commit, nor a commit for reading.
final class SQLiteReader: Sendable {
    private let worker = WorkerThread.start(name: "workflow-reader")
    private let connection = Mutex<DatabaseQueue?>(nil)
    private let closed = Promise<Void>()
    let path: String
    private let settings: Configuration
    private let mayRest: Bool

    /// - Parameter mayRest: whether the store may be one that nobody has open; nothing is then made beside it.
    init(_ configuration: StoreConfiguration, mayRest: Bool = false) {
        path = configuration.path
        settings = Self.settings(configuration)
        self.mayRest = mayRest
    }

    /// Runs `body` in one read transaction; where the store changes its state meanwhile, twice.
    func read<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws -> T {
        try await worker.perform { [self] in
            do {
                if mayRest, let resting = RestingDatabase(path), let result = resting.read(settings, body) {
                    return try result.get()
                }
                return try queue().read(body)
            } catch {
                throw StoreErrors.translate(error, path: path)
            }
        }
    }

    /// Runs `body`, which may block, on the thread.
    func perform<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        try await worker.perform(body)
    }

    /// Takes no more reads, and closes the connection after those that wait.
    func stop() {
        // A second call is refused: the first has closed it, or is about to.
        _ = worker.submit { [self] in
            connection.withLock { $0 = nil }
            closed.fulfil(())
        }
        worker.stop()
    }

    /// Stops, and returns when the connection is closed.
    func close() async {
        stop()
        await closed.value()
    }

    /// The connection, opened when it is first needed. Only called on the thread.
    private func queue() throws -> DatabaseQueue {
        try connection.withLock { connection in
            if let connection { return connection }
            let queue = try DatabaseQueue(path: path, configuration: settings)
            connection = queue
            return queue
        }
    }

    private static func settings(_ configuration: StoreConfiguration) -> Configuration {
        var settings = Configuration()
        settings.label = "workflow-reader"
        settings.readonly = true
        settings.busyMode = .timeout(Double(configuration.busyTimeout.wholeMilliseconds) / 1000)
        settings.prepareDatabase { db in
            try db.execute(sql: "PRAGMA wal_autocheckpoint = 0")
            try db.execute(sql: "PRAGMA mmap_size = 0")
        }
        return settings
    }
}
