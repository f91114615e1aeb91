import ArgumentParser
import Files
import FoundationEssentials
import SnapshotSteps

struct TagSnapshot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tag", abstract: "Gives a snapshot a name; the one that had the name loses it.")

    @Argument(help: "The snapshot: an id, a prefix of it, a name, a key, a SHA-256, or @last.", completion: .snapshots)
    var snapshot: String

    @Argument(help: "The name: letters, digits and . _ - / : with a letter or digit first.")
    var name: String

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            try Catalog.checkName(name)
            let (catalog, snapshot) = try await RecordedSnapshots.find(self.snapshot)
            let before = try await catalog.tag(snapshot, as: name)
            if let before { reporter.note("\"\(name)\" was the name of \(before)", always: false) }
            try await tell(snapshot.id, in: catalog, options, "\(snapshot.id) is called \(name)")
        }
    }
}

struct UntagSnapshot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "untag", abstract: "Takes a name away from the snapshot that has it; the snapshot stays.")

    @Argument(help: "The name.", completion: .snapshots)
    var name: String

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let catalog = try RecordedSnapshots.require()
            let snapshot = try await catalog.snapshots().first { $0.names.contains(name) }
            // Throws where there is none.
            try await catalog.untag(name)
            if let snapshot {
                try await tell(snapshot.id, in: catalog, options, "\(snapshot.id) is no longer called \(name)")
            }
        }
    }
}

struct LabelSnapshot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "label", abstract: "Sets labels of a snapshot; NAME= takes one away.")

    @Argument(help: "The snapshot: an id, a prefix of it, a name, a key, a SHA-256, or @last.", completion: .snapshots)
    var snapshot: String

    @Argument(help: "The labels, as NAME=VALUE.")
    var labels: [LabelArgument]

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let labels = try LabelArgument.dictionary(self.labels)
            let (catalog, snapshot) = try await RecordedSnapshots.find(self.snapshot)
            try await catalog.label(snapshot, labels)
            try await tell(snapshot.id, in: catalog, options, "\(snapshot.id) is labelled")
        }
    }
}

struct AdoptSnapshots: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "adopt",
        abstract: "Takes whole snapshots that stand in the store into the catalog again.",
        discussion: """
            For a store whose catalog.db was lost, or not copied. snapwf snapshots verify --all says which there are. All \
            of each file is read; names and labels are to be given anew.
            """)

    @Argument(help: "The names of their directories, as in snap-0123456789abcdef.")
    var directories: [String] = []

    @Flag(help: "All that there are.")
    var all = false

    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard all != !directories.isEmpty else { throw ValidationError("Name directories of the store, or say --all.") }
    }

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let home = try Places.stateDirectory(ProcessInfo.processInfo.environment)
            let state = try StateDirectory(opening: home)
            let catalog = try Catalog(state: state)
            var adopted: [Snapshot] = []
            for id in all ? try await Catalog.audit(in: state).unknown : directories {
                adopted.append(try await catalog.takeBack(id))
            }
            if options.json {
                let facts = adopted.map { SnapshotFacts($0, bytesOnDisk: catalog.bytesOnDisk(of: $0)) }
                try deliver(JSONText.document(SnapshotList(snapshots: facts)))
            } else {
                try deliver(adopted.map { (options.quiet ? "" : "adopted ") + $0.id + "\n" }.joined())
                if adopted.isEmpty, !options.quiet {
                    Terminal.standardError.write("snapwf: every whole snapshot of the store is in the catalog\n")
                }
            }
        }
    }
}

/// Says what was done to a snapshot: its id, its document, or a sentence.
private func tell(_ id: String, in catalog: Catalog, _ options: GlobalOptions, _ sentence: String) async throws {
    if options.json {
        let snapshot = try await catalog.find(id)
        try deliver(
            JSONText.document(
                SnapshotList(snapshots: [SnapshotFacts(snapshot, bytesOnDisk: catalog.bytesOnDisk(of: snapshot))])))
    } else {
        try deliver(options.quiet ? id + "\n" : sentence + "\n")
    }
}
