import Glibc

/// A store of this machine that is only read.
struct SQLiteStoreReading: ReadOnlyStore, SQLiteReading {
    let clock: any EngineClock
    let reader: SQLiteReader
    let locks: RunLocks

    /// Opens a store that is there, and checks that this program can read its schema.
    static func open(_ configuration: StoreConfiguration, clock: any EngineClock) async throws -> SQLiteStoreReading {
        var configuration = configuration
        configuration.path = try StorePath.absolute(configuration.path)
        let path = configuration.path
        let reader = SQLiteReader(configuration, mayRest: true)
        do {
            try await reader.perform { try requireFile(path) }
            try await reader.read { db in try SchemaMigration.requireCurrent(db, path: path) }
        } catch {
            await reader.close()
            throw error
        }
        return SQLiteStoreReading(clock: clock, reader: reader, locks: RunLocks(directory: path + ".locks"))
    }

    func stop() { reader.stop() }
    func close() async { await reader.close() }

    func checkLocks() async throws -> Bool {
        let path = reader.path
        return try await reader.perform {
            do {
                try LockProof.check(path + ".commit.lock", creating: false)
                return true
            } catch let error as SystemError {
                if error.code == ENOENT { return false }
                throw StoreErrors.translate(error, path: path)
            }
        }
    }

    /// An engine that is just making the store first makes an empty file.
    private static func requireFile(_ path: String) throws {
        var info = stat()
        if stat(path, &info) == 0 {
            guard info.st_size > 0 else { throw WorkflowError.noStore(path) }
        } else {
            guard errno == ENOENT || errno == ENOTDIR else {
                throw StoreErrors.translate(SystemError(call: "stat", path: path, code: errno), path: path)
            }
            throw WorkflowError.noStore(path)
        }
    }
}
