import ArgumentParser
import FoundationEssentials
import SnapshotSteps

struct SnapshotsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshots",
        abstract: "The snapshots on this machine: lists, names, checks, copies, pushes, pulls and removes them.",
        discussion: """
            A snapshot is named by its id, any unique prefix of it, a name that it was given, its key or SHA-256, or @last.
            """,
        subcommands: [
            ListSnapshots.self, InspectSnapshot.self, VerifySnapshots.self, ExportSnapshot.self, PushSnapshot.self,
            PullSnapshot.self, RemoveSnapshots.self, TagSnapshot.self, UntagSnapshot.self, LabelSnapshot.self,
            AdoptSnapshots.self,
        ],
        defaultSubcommand: ListSnapshots.self, aliases: ["snapshot"])
}

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
