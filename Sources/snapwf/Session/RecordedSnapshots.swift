import FoundationEssentials
import SnapshotSteps

/// The catalog, for verbs about snapshots: no engine is opened, and none is made where there is none.
enum RecordedSnapshots {
    static func state() throws -> StateDirectory {
        StateDirectory(reading: try Places.stateDirectory(ProcessInfo.processInfo.environment))
    }

    /// - Returns: `nil` where there never was a snapshot.
    static func open() throws -> Catalog? {
        let points = CrashPoints(ProcessInfo.processInfo.environment)
        return try Catalog.existing(in: try state()) { points?.pass($0) }
    }

    /// - Throws: `snapshotNotFound` where there never was a snapshot.
    static func require() throws -> Catalog {
        guard let catalog = try open() else { throw Catalog.noSnapshot }
        return catalog
    }
}
