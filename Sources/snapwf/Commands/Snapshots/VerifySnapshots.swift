import ArgumentParser
import Files
import FoundationEssentials
import HelperInterface
import OCI
import SnapshotSteps

struct VerifySnapshots: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Compares snapshots with what the catalog knows of them: all of each file is read.",
        discussion: """
            With --all it looks at the whole store too, and names whole snapshots that are not in the catalog. Exits 5 when \
            a snapshot is damaged or missing, 1 when one is only unknown. (The file system within: snapshot verify FILE.)
            """)

    @Argument(help: "The snapshots: ids, prefixes of them, names, keys, SHA-256, or @last.", completion: .snapshots)
    var snapshots: [String] = []

    @Flag(help: "All snapshots, and the store they stand in.")
    var all = false

    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard all != !snapshots.isEmpty else { throw ValidationError("Name snapshots, or say --all.") }
    }

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let document = try await verify()
            if options.json {
                try deliver(JSONText.document(document))
            } else {
                try deliver(document.text(quiet: options.quiet))
                if document.snapshots.isEmpty, document.unknown.isEmpty, !options.quiet {
                    Terminal.standardError.write("snapwf: there is no snapshot yet; make one: snapwf run IMAGE\n")
                }
            }
            if document.snapshots.contains(where: { !$0.whole }) { throw Exit(.badImage) }
            if !document.unknown.isEmpty { throw Exit(.failed) }
        }
    }

    private func verify() async throws -> VerifiedSnapshots {
        let state = try RecordedSnapshots.state()
        guard all else {
            var found: [(catalog: Catalog, snapshot: Snapshot)] = []
            for name in snapshots { found.append(try await RecordedSnapshots.find(name)) }
            let items = try await found.first.asyncMap { try await Self.verify(found.map(\.snapshot), in: $0.catalog) }
            return VerifiedSnapshots(snapshots: items ?? [], unknown: [])
        }
        let catalog = try RecordedSnapshots.open()
        let verified = try await catalog.asyncMap { try await Self.verify(try await $0.snapshots(), in: $0) } ?? []
        let unknown = try await Catalog.audit(in: state).unknown.map { id in
            VerifiedSnapshots.Unknown(
                id: id, path: state.snapshots + "/" + id, next: "snapwf snapshots adopt \(id)")
        }
        return VerifiedSnapshots(snapshots: verified, unknown: unknown)
    }

    static func verify(_ snapshots: [Snapshot], in catalog: Catalog) async throws -> [VerifiedSnapshots.Item] {
        var items: [VerifiedSnapshots.Item] = []
        for snapshot in snapshots {
            let problems = try await catalog.verify(snapshot)
            items.append(VerifiedSnapshots.Item(snapshot, problems: problems))
        }
        return items
    }
}

extension Optional {
    fileprivate func asyncMap<Value>(_ body: (Wrapped) async throws -> Value) async throws -> Value? {
        if let self { try await body(self) } else { nil }
    }
}

/// `snapwf snapshots verify --json`
struct VerifiedSnapshots: Encodable {
    struct Item: Encodable {
        let id: String
        let names: [String]
        let whole: Bool
        let problems: [String]
        /// What mends it; null when nothing is to be mended.
        let next: String?

        init(_ snapshot: Snapshot, problems: [String]) {
            id = snapshot.id
            names = snapshot.names
            whole = problems.isEmpty
            self.problems = problems
            next = problems.isEmpty ? nil : Self.mend(snapshot)
        }

        private static func mend(_ snapshot: Snapshot) -> String {
            switch snapshot.origin {
            case .run: again(snapshot)
            case .captured: "snapwf snapshots rm --force \(snapshot.id), and capture the sandbox again"
            case .pulled(let reference):
                "snapwf snapshots rm --force \(snapshot.id) && snapwf snapshots pull \(reference)"
            }
        }

        /// The command that makes the same bytes again: with everything that its key was made of.
        private static func again(_ snapshot: Snapshot) -> String {
            let smallest = SnapshotKey(
                manifestDigest: snapshot.manifestDigest, platform: snapshot.platform, size: nil,
                verity: snapshot.verity != nil, sourceDateEpoch: snapshot.sourceDateEpoch)
            var words = snapshot.sourceDateEpoch.map { ["SOURCE_DATE_EPOCH=\($0)"] } ?? []
            words += ["snapwf run --force"]
            if snapshot.platform != "\(Platform.host)" { words.append("--platform \(snapshot.platform)") }
            if snapshot.key != smallest.hex {
                words.append("--size \(snapshot.verity?.hashOffset ?? snapshot.size)")
            }
            if snapshot.verity != nil { words.append("--verity") }
            return (words + [snapshot.image]).joined(separator: " ")
        }
    }
    /// A whole snapshot that is not in the catalog.
    struct Unknown: Encodable {
        let id: String
        let path: String
        let next: String
    }

    let schema = 1
    let snapshots: [Item]
    let unknown: [Unknown]

    func text(quiet: Bool) -> String {
        if quiet { return (snapshots.filter { !$0.whole }.map(\.id) + unknown.map(\.id)).map { $0 + "\n" }.joined() }
        var text = ""
        for item in snapshots {
            let next = item.next.map { "; next: \($0)" } ?? ""
            text +=
                item.whole ? "ok   \(item.id)\n" : "BAD  \(item.id): \(item.problems.joined(separator: "; "))\(next)\n"
        }
        for item in unknown { text += "new  \(item.id): whole, and not in the catalog; next: \(item.next)\n" }
        return text
    }
}
