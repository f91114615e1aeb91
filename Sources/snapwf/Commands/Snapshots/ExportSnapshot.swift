import ArgumentParser
import Files
import FoundationEssentials
import SnapshotSteps

struct ExportSnapshot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Puts a copy of a snapshot's ext4 file somewhere, with its holes.")

    @Argument(help: "The snapshot: an id, a prefix of it, a name, a key, a SHA-256, or @last.", completion: .snapshots)
    var snapshot: String

    @Option(name: .shortAndLong, help: "Where the copy goes; what is there is replaced when the copy is whole.")
    var output: String

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let path = Places.absolutePath(output)
            try Places.checkExport(path)
            let (catalog, snapshot) = try await SharedRecords.findOrFetch(self.snapshot, reporter)
            try await catalog.export(snapshot, to: path)
            if options.json {
                try deliver(
                    JSONText.document(
                        Exported(snapshot: snapshot.id, path: path, sha256: snapshot.sha256, size: snapshot.size)))
            } else {
                try deliver(options.quiet ? path + "\n" : "exported \(snapshot.id) to \(path)\n")
            }
        }
    }

    /// `snapwf snapshots export --json`
    private struct Exported: Encodable {
        let schema = 1
        let snapshot: String
        let path: String
        let sha256: String
        let size: UInt64
    }
}
