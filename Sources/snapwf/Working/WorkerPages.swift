import Connect
import Files
import Logging
import SnapshotSteps

/// The pages of a worker: whether it lives, whether it is ready, what it counted.
struct WorkerPages {
    /// Such as `http://127.0.0.1:9464`.
    let address: String
    private let closing: AsyncStream<Void>.Continuation
    private let server: Task<Void, any Error>

    /// Returns when the pages can be asked for.
    ///
    /// - Throws: `SnapshotError` when nothing can listen there.
    static func open(
        at address: ConnectServerConfiguration.Address, _ desk: WorkerDesk, _ registry: MetricsRegistry,
        _ logger: Logger
    ) async throws -> WorkerPages {
        var router = ConnectRouter()
        router.page("/healthz", "ok\n")
        router.page("/readyz") {
            let readiness = desk.readiness
            return Page(readiness.words + "\n", isAvailable: readiness.isReady)
        }
        router.page("/metrics") {
            desk.measure()
            return Page(registry.page(), mediaType: Exposition.mediaType)
        }
        var configuration = ConnectServerConfiguration(address: address)
        configuration.grace = .seconds(1)
        configuration.headLimit = 16 << 10
        let server = ConnectServer(configuration, router: router, logger: logger)
        let (ends, closing) = AsyncStream.makeStream(of: Void.self)
        let (addresses, found) = AsyncThrowingStream.makeStream(of: String.self)
        let task = Task {
            do {
                try await server.run(
                    onRunning: { found.yield($0.description) },
                    until: { for await _ in ends {} })
                found.finish()
            } catch {
                found.finish(throwing: error)
                throw error
            }
        }
        do {
            for try await shown in addresses {
                return WorkerPages(address: shown, closing: closing, server: task)
            }
            throw SnapshotError(.unavailable, "nothing listens for --listen: it was stopped at once")
        } catch let error as ConnectError {
            throw SnapshotError(error.code == .invalidArgument ? .usage : .unavailable, error.message)
        }
    }

    /// Answers nobody any more.
    func close() async {
        closing.finish()
        _ = await server.result
    }
}
