import HelperInterface
import SnapshotSteps
import Workflow

/// A store of runs on a server.
enum SharedStoreChecks {
    private static let name = "runs store"
    private static let patience = Duration.seconds(9)

    static func run(_ place: RunsPlace) async -> [Finding] {
        do {
            let found = try await within(patience) { () -> [Finding] in
                guard let server = try await StoreServer.of(place.configuration) else { return [] }
                return [await store(place)] + findings(server)
            }
            return found ?? [
                .warn(name, "\(place.shown) did not answer within \(spanText(patience))", next: "snapwf doctor")
            ]
        } catch let error as WorkflowError {
            return [finding(error)]
        } catch {
            return [.fail(name, "\(error)", next: "snapwf store status")]
        }
    }

    /// Only its head: to read all of a large store is for when there is time.
    private static func store(_ place: RunsPlace) async -> Finding {
        do {
            let reader = try await StoreReader(store: place.configuration)
            let result: Result<(StoreStanding, StoreFigures), any Error>
            do {
                result = .success((try await reader.standing(), try await reader.figures()))
            } catch {
                result = .failure(error)
            }
            await reader.close()
            let (standing, figures) = try result.get()
            return store(reader.place, standing, figures)
        } catch let error as WorkflowError {
            return finding(error)
        } catch {
            return .fail(name, "\(error)", next: "snapwf store status")
        }
    }

    static func store(_ place: String, _ standing: StoreStanding, _ figures: StoreFigures) -> Finding {
        guard standing.state == .open else {
            return .fail(
                name, "\(place) is not open (\(standing.state.rawValue), the other store: \(standing.peerName ?? "?"))",
                next: "snapwf store status")
        }
        let runs = figures.runs.values.reduce(0, +)
        let size = byteCountText(UInt64(max(figures.bytes, 0)))
        return .ok(
            name, "\(place), its schema is this version's; \(runs) runs, \(figures.held) executed now, \(size)")
    }

    static func finding(_ error: WorkflowError) -> Finding {
        switch error.code {
        case .noStore: .ok(name, "not there yet; the first run makes it")
        case .storeNeedsMigration: .warn(name, error.description, next: "snapwf gc --dry-run")
        case .storeNewerThanProgram: .fail(name, error.description, next: "upgrade snapwf")
        case .storeUnavailable:
            .fail(name, error.description, next: "psql with the same address says more; then: snapwf doctor")
        default: .fail(name, error.description, next: "snapwf help errors \(ErrorCode.of(error.code).name)")
        }
    }

    static func findings(_ server: StoreServer) -> [Finding] {
        [transport(server), replication(server), clock(server)]
    }

    private static func transport(_ server: StoreServer) -> Finding {
        let name = "store's connection"
        switch server.transport {
        case .socket: return .ok(name, "PostgreSQL \(server.version), over a socket of this machine")
        case .encrypted(let version): return .ok(name, "PostgreSQL \(server.version), over \(version)")
        case .plain:
            return .warn(
                name,
                "PostgreSQL \(server.version), not encrypted: who is on the way can read and change what is recorded",
                next: "add sslmode=verify-full to the address, and set up TLS on the server")
        }
    }

    private static func replication(_ server: StoreServer) -> Finding {
        let name = "store's server"
        guard server.isPrimary else {
            return .fail(
                name, "it is a standby, which cannot be written",
                next:
                    "name the primary, or all of them: postgresql://HOST1,HOST2/DATABASE?target_session_attrs=read-write"
            )
        }
        guard server.standbys > 0 else { return .ok(name, "primary; no standby that this role may see") }
        let waited = server.synchronousStandbys
        return .ok(
            name,
            "primary, followed by \(server.standbys); commits wait for "
                + (waited == 0 ? "none of them" : "\(waited) of them"))
    }

    /// Leases go by the server's clock alone; the times that are shown and deadlines go by this one's.
    private static func clock(_ server: StoreServer) -> Finding {
        let name = "store's clock"
        let ahead = (server.clockAhead * 1000).rounded() / 1000
        let text = "\(abs(ahead)) s \(ahead < 0 ? "behind" : "ahead of") this machine's"
        guard abs(ahead) > 1 else { return .ok(name, text) }
        return .warn(name, "\(text): times and deadlines of runs are off by as much", next: "timedatectl status")
    }
}
