import GRDB

/// What SQLite and the system say, in words a person can act on.
enum StoreErrors {
    static func busy(_ configuration: StoreConfiguration) -> WorkflowError {
        WorkflowError(
            .storeBusy,
            "another process kept the store \(configuration.path) locked for more than \(configuration.busyTimeout): "
                + "try again when it is done")
    }

    static func translate(_ error: any Error, path: String) -> any Error {
        switch error {
        case let error as DatabaseError: translate(error, path: path)
        case let error as SystemError:
            WorkflowError(
                .storeNotWritable, "cannot use the store \(path): check that the directory exists and is writable",
                cause: error)
        default: error
        }
    }

    private static func translate(_ error: DatabaseError, path: String) -> WorkflowError {
        // The only triggers that refuse are those of a store that is not open.
        if error.extendedResultCode == .SQLITE_CONSTRAINT_TRIGGER {
            return .closed("the store \(path)", cause: error)
        }
        return switch error.resultCode {
        case .SQLITE_FULL:
            WorkflowError(
                .storeFull,
                "the disk of the store \(path) is full: free some space and resume; nothing committed is lost",
                cause: error)
        // PROTOCOL: a hundred tries to begin reading the log, each in somebody's way.
        case .SQLITE_BUSY, .SQLITE_LOCKED, .SQLITE_PROTOCOL:
            WorkflowError(
                .storeBusy, "another process kept the store \(path) locked for too long: try again when it is done",
                cause: error)
        case .SQLITE_READONLY, .SQLITE_CANTOPEN, .SQLITE_PERM, .SQLITE_AUTH:
            WorkflowError(
                .storeNotWritable,
                "cannot open or write the store \(path): check the owner and the mode of the file and its directory",
                cause: error)
        case .SQLITE_CORRUPT, .SQLITE_NOTADB:
            WorkflowError(
                .storeCorrupt, "the store \(path) is damaged or no database: move it away or restore a copy",
                cause: error)
        default:
            WorkflowError(
                .storeFailed, "the store \(path) failed: check the disk and resume; nothing committed is lost",
                cause: error)
        }
    }
}
