import FoundationEssentials
import Glibc
import HelperInterface
import SnapshotSteps

/// One snapshot, as the verbs about snapshots print it with `--json`.
struct SnapshotFacts: Encodable {
    struct Origin: Encodable {
        /// `run`, `captured` or `pulled`.
        let kind: String
        let run: String?
        let sandbox: String?
        let reference: String?
    }
    struct Artifact: Encodable {
        let reference: String
        /// `pushed` or `pulled`.
        let way: String
        let at: Date
    }

    let id: String
    let key: String
    let names: [String]
    let labels: [String: String]
    let image: String
    let manifestDigest: String
    let platform: String
    /// Null where the file is not here.
    let path: String?
    /// The hosts that have the file, of one that is not here.
    var machines: [String]?
    let size: UInt64
    /// Holes not counted; null where the file is not there.
    let bytesOnDisk: UInt64?
    let sha256: String
    let uuid: String
    let entries: Int
    let verity: VerityResult?
    let origin: Origin
    let artifacts: [Artifact]
    /// How long its last boot for proof took.
    let bootMilliseconds: Int?
    let createdAt: Date
    let lastUsedAt: Date

    init(_ snapshot: Snapshot, bytesOnDisk: UInt64?) {
        id = snapshot.id
        key = snapshot.key
        names = snapshot.names
        labels = snapshot.labels
        image = snapshot.image
        manifestDigest = snapshot.manifestDigest
        platform = snapshot.platform
        path = snapshot.path.isEmpty ? nil : snapshot.path
        size = snapshot.size
        self.bytesOnDisk = bytesOnDisk
        sha256 = snapshot.sha256
        uuid = snapshot.uuid
        entries = snapshot.entries
        verity = snapshot.verity
        origin =
            switch snapshot.origin {
            case .run(let run): Origin(kind: "run", run: run, sandbox: nil, reference: nil)
            case .captured(let sandbox, let run): Origin(kind: "captured", run: run, sandbox: sandbox, reference: nil)
            case .pulled(let reference): Origin(kind: "pulled", run: nil, sandbox: nil, reference: reference)
            }
        artifacts = snapshot.artifacts.map {
            Artifact(reference: $0.reference, way: $0.way.rawValue, at: date($0.notedAt))
        }
        bootMilliseconds = snapshot.bootMilliseconds
        createdAt = date(snapshot.createdAt)
        lastUsedAt = date(snapshot.lastUsedAt)
    }

    /// One that is not here, as the shared catalog tells of it.
    init(elsewhere shared: SharedSnapshot) {
        self.init(shared.snapshot(), bytesOnDisk: nil)
        machines = Set(shared.copies.map(\.host)).sorted()
    }

    /// What a list says of its bytes.
    var whereabouts: String {
        guard let machines else { return bytesOnDisk.map(byteCountText) ?? "missing" }
        return artifacts.isEmpty ? "on " + (machines.first ?? "nothing") : "registry"
    }

    /// Where it came from, for people.
    var originText: String {
        switch origin.kind {
        case "pulled": "pulled from \(origin.reference ?? "?")"
        case "captured": "sandbox \(origin.sandbox ?? "?"), run \(origin.run ?? "?")"
        default: "run \(origin.run ?? "?")"
        }
    }

    var labelsText: String { labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ", ") }
}

private func date(_ milliseconds: Int64) -> Date { Date(timeIntervalSince1970: Double(milliseconds) / 1000) }
