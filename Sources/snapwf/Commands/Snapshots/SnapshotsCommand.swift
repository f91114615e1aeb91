import ArgumentParser

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
