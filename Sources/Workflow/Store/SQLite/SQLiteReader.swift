import GRDB
import Synchronization

/// The thread with the read-only connection: reading never waits for a commit, nor a commit for reading.
final class SQLiteReader: Sendable {
    private let worker = WorkerThread.start(name: "workflow-reader")
    private let connection = Mutex<DatabaseQueue?>(nil)
    private let closed = Promise<Void>()
    private let path: String
    private let busyTimeout: Duration

    init(_ configuration: StoreConfiguration) {
        path = configuration.path
        busyTimeout = configuration.busyTimeout
    }

    /// Runs `body` in one read transaction.
    func read<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws -> T {
        try await worker.perform { [self] in
            do {
                return try queue().read(body)
            } catch {
                throw StoreErrors.translate(error, path: path)
            }
        }
    }

    /// Runs `body`, which may block, on the thread.
    func perform<T: Sendable>(_ body: @escaping @Sendable () -> T) async throws -> T {
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
            var settings = Configuration()
            settings.label = "workflow-reader"
            settings.readonly = true
            settings.busyMode = .timeout(Double(busyTimeout.wholeMilliseconds) / 1000)
            settings.prepareDatabase { db in
                try db.execute(sql: "PRAGMA wal_autocheckpoint = 0")
                try db.execute(sql: "PRAGMA mmap_size = 0")
            }
            let queue = try DatabaseQueue(path: path, configuration: settings)
            connection = queue
            return queue
        }
    }
}
