import Connect
import SandboxAPI
import Synchronization

/// Sandboxes of Depot, or of whatever else speaks `depot.sandbox.v1`, such as `snapwf serve`.
///
/// Labels travel in a sandbox's `env`, the only thing that the API echoes. Everything inside is done as root (`sudo`):
/// the default user is another one, and files that one call writes have to be readable and replaceable for the next,
/// those of mode 0600 as well.
package final class DepotProvider: SandboxProvider {
    package let configuration: Configuration
    let client: ConnectClient
    private let known = Mutex(Known())

    /// What was found out by asking. Lost with the process, and found out again.
    private struct Known: Sendable {
        var snapshots = false
        /// Sandboxes whose work directory is there.
        var prepared: Set<SandboxID> = []
    }

    /// Where commands run and the files of a run are; made by whoever needs it first.
    static let workDirectory = "/work"

    /// The API's address for messages; there is no secret in it.
    let address: String

    /// Asks nobody.
    ///
    /// - Throws: `invalidArgument` when the address or the file of certificates is none.
    package init(_ configuration: Configuration) throws(SandboxError) {
        self.configuration = configuration
        (client, address) = try configuration.client()
    }

    package var name: String { configuration.name }

    /// Before ``check()`` without snapshots, which not every version has.
    package var capabilities: Capabilities {
        Capabilities(
            images: true,
            snapshots: known.withLock { $0.snapshots },
            resourceLimits: true,
            maximumTimeToLive: .seconds(Int64(DepotMessages.maximumMinutes) * 60),
            timeToLiveGranularity: .seconds(60),
            listingLag: configuration.listingLag
        )
    }

    /// Closes the connections. No call may be under way.
    package func shutdown() async {
        await client.shutdown()
    }

    func learned(snapshots: Bool) {
        known.withLock { $0.snapshots = snapshots }
    }

    func isPrepared(_ id: SandboxID) -> Bool {
        known.withLock { $0.prepared.contains(id) }
    }

    func didPrepare(_ id: SandboxID) {
        known.withLock { known in
            if known.prepared.count >= 10_000 { known.prepared.removeAll() }
            known.prepared.insert(id)
        }
    }

    // MARK: Looking

    package func list() async throws -> [SandboxInfo] {
        try await list(since: nil)
    }

    package func find(labels: [String: String], since: UnixTime?) async throws -> [SandboxInfo] {
        // A filter is only a hint here: what comes is matched by its labels, and time is not compared again.
        try await list(since: since?.advanced(by: .zero - configuration.clockSkew)).carrying(labels)
    }

    private func list(since: UnixTime?) async throws -> [SandboxInfo] {
        var pages = ListedPages<SandboxMessage>()
        var request = ListSandboxesRequest()
        request.pageSize = 100
        if let since { request.filter.createdAfter = DepotMessages.timestamp(since) }
        while true {
            let page: ListSandboxesResponse
            do {
                page = try await client.unary(
                    SandboxMethods.listSandboxes, request, deadline: configuration.answerPatience)
            } catch {
                throw cancelled(error) ?? translated(error, "list sandboxes")
            }
            guard let next = try pages.add(page.sandboxes, id: \.sandboxID, next: page.nextPageToken) else { break }
            request.pageToken = next
        }
        return pages.items.map(DepotMessages.info)
    }

    package func get(_ id: SandboxID) async throws -> SandboxInfo? {
        guard Self.isValid(id) else { return nil }
        do {
            let answer = try await client.unary(
                SandboxMethods.getSandbox, DepotMessages.sandbox(id), deadline: configuration.answerPatience)
            guard answer.sandbox.sandboxID == id.rawValue else {
                throw SandboxError(.unavailable, "the API at \(address) told of another sandbox than \(id)")
            }
            return DepotMessages.info(answer.sandbox)
        } catch let error as ConnectError {
            if error.code == .notFound && !error.isNotConnect { return nil }
            throw cancelled(error) ?? translated(error, "look at sandbox \(id)")
        }
    }

    /// Whether the API can have given such an id; others are not even asked about.
    static func isValid(_ id: SandboxID) -> Bool {
        (1...200).contains(id.rawValue.utf8.count)
            && id.rawValue.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                    || [UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: ":")].contains(byte)
            }
    }

    /// The cancellation, when that is what ended a call.
    func cancelled(_ error: ConnectError) -> (any Error)? {
        error.code == .canceled && Task.isCancelled ? CancellationError() : nil
    }

    // MARK: Calls in a sandbox

    /// Makes a call in a sandbox. One that is refused because the sandbox still starts is made again when it runs.
    ///
    /// - Parameter mayRepeat: asked then.
    func inSandbox<Value: Sendable>(
        _ id: SandboxID, _ what: String, _ call: DepotCall, mayRepeat: () -> Bool = { true },
        _ body: () async throws -> Value
    ) async throws -> Value {
        guard Self.isValid(id) else { throw unknown(id) }
        do {
            return try await body()
        } catch let error as ConnectError where error.code == .failedPrecondition && fileDetail(error) == nil {
            // It may have begun to run since it was refused.
            guard mayRepeat(), try await get(id)?.state.isAlive == true else {
                throw await failure(error, what, call, in: id)
            }
        } catch {
            throw await failure(error, what, call, in: id)
        }
        _ = try await awaitRunning(id)
        do {
            return try await body()
        } catch {
            throw await failure(error, what, call, in: id)
        }
    }
}
