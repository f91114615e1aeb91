import ArgumentParser
import Files
import HelperInterface
import SnapshotSteps
import Workflow

struct StoreStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows what the store is, how many runs it has and how many are executed now.")

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let place = try stored.place(in: RecordedSnapshots.state())
            let reader = try await StoreReader(store: place.configuration)
            let document: StoreDocument
            do {
                document = StoreDocument(
                    place: reader.place, isShared: place.configuration.isShared, try await reader.standing(),
                    try await reader.figures(), try await StoreServer.of(place.configuration))
            } catch {
                await reader.close()
                throw error
            }
            await reader.close()
            if options.json {
                try deliver(JSONText.document(document))
            } else {
                try deliver(options.quiet ? document.state + "\n" : table(document.rows))
            }
        }
    }
}

/// `snapwf store status --json`
struct StoreDocument: Encodable {
    struct Server: Encodable {
        let version: String
        /// `socket`, `plain`, or a version of TLS.
        let transport: String
        let primary: Bool
        let standbys: Int
        let synchronousStandbys: Int
        /// In seconds.
        let clockAhead: Double
    }

    let schema = 1
    let place: String
    /// `sqlite` or `postgresql`.
    let kind: String
    let id: String
    /// `open`, `closing`, `moving`, `moved` or `filling`.
    let state: String
    /// The other store, where runs went to or come from one.
    let peer: String?
    /// How many runs are so, by status.
    let runs: [String: Int]
    /// How many are executed now.
    let held: Int
    let bytes: Int64
    let server: Server?

    init(
        place: String, isShared: Bool, _ standing: StoreStanding, _ figures: StoreFigures, _ server: StoreServer?
    ) {
        self.place = place
        kind = isShared ? "postgresql" : "sqlite"
        id = standing.id
        state = standing.state.rawValue
        peer = standing.peerName
        runs = Dictionary(uniqueKeysWithValues: figures.runs.map { ($0.key.rawValue, $0.value) })
        held = figures.held
        bytes = figures.bytes
        self.server = server.map { server in
            Server(
                version: server.version, transport: server.transport.word, primary: server.isPrimary,
                standbys: server.standbys, synchronousStandbys: server.synchronousStandbys,
                clockAhead: (server.clockAhead * 1000).rounded() / 1000)
        }
    }

    var rows: [[String]] {
        let counts = RunStatus.allCases.compactMap { status in
            runs[status.rawValue].map { "\($0) \(status.rawValue)" }
        }
        var rows = [
            ["store", place], ["id", id], ["state", state + (peer.map { ", \(words) \($0)" } ?? "")],
            ["runs", counts.isEmpty ? "none" : counts.joined(separator: ", ")],
            ["executed now", "\(held)"], ["size", byteCountText(UInt64(max(bytes, 0)))],
        ]
        if let server {
            rows.append(["server", "PostgreSQL \(server.version), \(server.primary ? "primary" : "standby")"])
            rows.append(["connection", server.transport])
        }
        return rows
    }

    private var words: String { state == "filling" ? "from" : "to" }
}

extension StoreServer.Transport {
    var word: String {
        switch self {
        case .socket: "socket"
        case .plain: "plain"
        case .encrypted(let version): version
        }
    }
}
