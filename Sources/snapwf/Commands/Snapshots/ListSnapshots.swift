import ArgumentParser
import Files
import FoundationEssentials
import HelperInterface
import SnapshotSteps

struct ListSnapshots: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "Lists snapshots, newest first.", aliases: ["list"])

    @Option(
        name: .customLong("filter"),
        help: """
            Only those with a name or a label: name=PATTERN (* and ? stand for letters), label=NAME or label=NAME=VALUE. \
            May be repeated; all have to hold.
            """)
    var filters: [SnapshotFilter] = []

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let catalog = try RecordedSnapshots.open()
            let all = try await catalog?.snapshots() ?? []
            let shown = all.reversed().filter { snapshot in filters.allSatisfy { $0.holds(of: snapshot) } }
            var facts = shown.map { SnapshotFacts($0, bytesOnDisk: catalog?.bytesOnDisk(of: $0)) }
            var failure: (any Error)?
            do {
                // Names and labels are this installation's.
                let others = try await SharedRecords.elsewhere(than: Set(all.map(\.key)))
                if filters.isEmpty { facts += others.reversed().map { SnapshotFacts(elsewhere: $0) } }
            } catch {
                failure = error
            }
            facts.sort { $0.createdAt > $1.createdAt }
            try show(facts, hasAny: !all.isEmpty)
            // What is here is shown all the same.
            if let failure { throw failure }
        }
    }

    private func show(_ snapshots: [SnapshotFacts], hasAny: Bool) throws {
        if options.json {
            try deliver(JSONText.document(SnapshotList(snapshots: snapshots)))
        } else if options.quiet {
            for snapshot in snapshots { try deliver(snapshot.id + "\n") }
        } else if snapshots.isEmpty {
            Terminal.standardError.write(
                hasAny
                    ? "snapwf: no snapshot has such a name or label\n"
                    : "snapwf: there is no snapshot yet; make one: snapwf run IMAGE\n")
        } else {
            let rows =
                [["SNAPSHOT", "NAMES", "MADE", "SIZE", "ON DISK", "IMAGE"]]
                + snapshots.map { snapshot in
                    [
                        snapshot.id, snapshot.names.isEmpty ? "-" : snapshot.names.joined(separator: ","),
                        ageText(snapshot.createdAt.distance(to: Date())), byteCountText(snapshot.size),
                        snapshot.whereabouts, snapshot.image,
                    ]
                }
            try deliver(table(rows, width: Terminal.standardOutput.columns))
        }
    }
}

/// `snapwf snapshots ls --json`
struct SnapshotList: Encodable {
    let schema = 1
    let snapshots: [SnapshotFacts]
}
