import ArgumentParser
import Files
import HelperInterface
import SnapshotSteps
import Workflow

struct ReopenStore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reopen",
        abstract: "Takes back that a store's runs were moved to another one, or are being moved.",
        discussion: """
            The store then has its runs as they were before. If the other store is used too, both execute the same runs, \
            and nothing can keep them from it: see to it that only one is used.
            """)

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let place = try stored.place(in: RecordedSnapshots.state())
            let (name, before) = try await StoreReopening.reopen(place.configuration)
            let document = ReopenedStore(place: name, before: before.state.rawValue, peer: before.peerName)
            if options.json { return try deliver(JSONText.document(document)) }
            guard !options.quiet else { return }
            if before.state == .open {
                reporter.note("\(name) was open already")
            } else {
                let other = before.peerName ?? "the other store"
                reporter.note("\(name) is open again; see to it that nobody uses \(other) with the same runs")
            }
        }
    }
}

/// `snapwf store reopen --json`
struct ReopenedStore: Encodable {
    let schema = 1
    let place: String
    /// What its state was.
    let before: String
    /// Where its runs went.
    let peer: String?
}
