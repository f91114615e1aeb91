import ArgumentParser
import Files
import FoundationEssentials
import HelperInterface
import SnapshotSteps

struct InspectSnapshot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Shows all that is known of a snapshot.", aliases: ["show"])

    @Argument(help: "The snapshot: an id, a prefix of it, a name, a key, a SHA-256, or @last.", completion: .snapshots)
    var snapshot: String

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let document = try await document()
            if options.json {
                try deliver(JSONText.document(document))
            } else {
                try deliver(options.quiet ? document.snapshot.id + "\n" : document.text)
            }
        }
    }

    @MainActor
    private func document() async throws -> SnapshotDetails {
        do {
            let catalog = try RecordedSnapshots.require()
            let snapshot = try await catalog.find(self.snapshot)
            return SnapshotDetails(
                snapshot: SnapshotFacts(snapshot, bytesOnDisk: catalog.bytesOnDisk(of: snapshot)),
                config: snapshot.config, inUseBy: try await catalog.holders(of: snapshot))
        } catch let error as SnapshotError where error.code == .snapshotNotFound {
            guard let (shared, config) = try await SharedRecords.find(self.snapshot) else { throw error }
            return SnapshotDetails(snapshot: SnapshotFacts(elsewhere: shared), config: config, inUseBy: nil)
        }
    }
}

/// `snapwf snapshots inspect --json`
struct SnapshotDetails: Encodable {
    let schema = 1
    let snapshot: SnapshotFacts
    /// The image's configuration document, as the registry has it: JSON in a string, so that its bytes stay.
    let config: String
    /// Null when nobody works with it.
    let inUseBy: [SnapshotHolder]?

    var text: String {
        var rows = [
            ["snapshot", snapshot.id], ["names", snapshot.names.joined(separator: ", ")],
            ["labels", snapshot.labelsText], ["image", snapshot.image], ["platform", snapshot.platform],
            ["path", snapshot.path ?? ""],
            ["on", (snapshot.machines ?? []).joined(separator: ", ")], ["size", sizeText],
            ["entries", "\(snapshot.entries)"],
            ["sha256", snapshot.sha256], ["uuid", snapshot.uuid], ["key", snapshot.key],
            ["verity", snapshot.verity?.rootHash ?? ""], ["from", snapshot.originText],
            ["created", snapshot.createdAt.formatted(.iso8601)],
            ["last used", snapshot.lastUsedAt.formatted(.iso8601)],
            ["boots in", snapshot.bootMilliseconds.map { spanText(Double($0) / 1000) } ?? ""],
        ]
        rows += snapshot.artifacts.map { [$0.way, $0.reference] }
        if let inUseBy {
            let who = inUseBy.map { "process \($0.pid) (\($0.purpose))" }
            rows.append(["in use by", who.isEmpty ? "another process" : who.joined(separator: ", ")])
        }
        return table(rows.filter { !$0[1].isEmpty })
    }

    private var sizeText: String {
        if snapshot.machines != nil { return "\(byteCountText(snapshot.size)), not on this machine" }
        let onDisk = snapshot.bytesOnDisk.map { byteCountText($0) + " on disk" } ?? "its file is missing"
        return "\(byteCountText(snapshot.size)), \(onDisk)"
    }
}
