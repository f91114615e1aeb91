import Connect
import SandboxAPI

extension DepotProvider: CapturingProvider {
    /// The snapshot of that name of a sandbox, captured unless there is one already, and waited for until it is ready.
    ///
    /// Killed anywhere, another call goes on with what was begun.
    ///
    /// - Parameters:
    ///   - name: names the content, such as a snapshot key.
    ///   - patience: how long a capture may take; Depot's take up to 35 minutes.
    /// - Throws: `unimplemented` where the API has no snapshots.
    package func snapshot(
        of id: SandboxID, name: String, patience: Duration = .seconds(40 * 60)
    ) async throws -> ProviderSnapshot {
        let end = SteadyClock.now() + patience
        var snapshot: ProviderSnapshot
        if let begun = try await snapshots(of: id).first(where: { $0.name == name && $0.isUsable }) {
            snapshot = begun
        } else {
            snapshot = try await capture(id, name: name)
        }
        var pauses = PollPauses(first: configuration.pollPause)
        while true {
            switch snapshot.state {
            case .ready: return snapshot
            case .capturing: break
            case .failed(let reason):
                throw SandboxError(
                    .commandFailed, "the snapshot \(snapshot.id) of sandbox \(id) failed: \(reason); try again")
            }
            guard SteadyClock.now() < end else {
                throw SandboxError(
                    .deadlineExceeded, "the snapshot \(snapshot.id) is not ready after \(patience); it goes on")
            }
            try await pauses.pause()
            guard let seen = try await self.snapshot(snapshot.id) else {
                throw SandboxError(.notFound, "the snapshot \(snapshot.id) was removed while it was captured")
            }
            snapshot = seen
        }
    }

    private func capture(_ id: SandboxID, name: String) async throws -> ProviderSnapshot {
        var request = SnapshotSandboxRequest()
        request.sandbox = DepotMessages.sandbox(id)
        request.name = name
        let asked = request
        let answer = try await inSandbox(id, "take a snapshot", .sandbox) { [client, configuration] in
            try await client.unary(SandboxMethods.snapshotSandbox, asked, deadline: configuration.answerPatience)
        }
        guard !answer.snapshot.snapshotID.isEmpty else {
            throw SandboxError(.unavailable, "the API took a snapshot and did not say which", isInDoubt: true)
        }
        return DepotMessages.snapshot(answer.snapshot)
    }

    /// `nil` when the API knows no such snapshot.
    package func snapshot(_ id: String) async throws -> ProviderSnapshot? {
        do {
            let answer = try await client.unary(
                SandboxMethods.getSnapshot, DepotMessages.snapshot(id), deadline: configuration.answerPatience)
            return DepotMessages.snapshot(answer.snapshot)
        } catch {
            if error.code == .notFound && !error.isNotConnect { return nil }
            throw cancelled(error) ?? translated(error, "look at snapshot \(id)")
        }
    }

    /// The snapshots of a sandbox, complete, the newest first as the API lists them.
    package func snapshots(of sandbox: SandboxID) async throws -> [ProviderSnapshot] {
        var pages = ListedPages<SnapshotMessage>()
        var request = ListSnapshotsRequest()
        request.pageSize = 100
        request.filter.sourceSandbox = DepotMessages.sandbox(sandbox)
        while true {
            let page: ListSnapshotsResponse
            do {
                page = try await client.unary(
                    SandboxMethods.listSnapshots, request, deadline: configuration.answerPatience)
            } catch {
                throw cancelled(error) ?? translated(error, "list snapshots")
            }
            guard let next = try pages.add(page.snapshots, id: \.snapshotID, next: page.nextPageToken) else { break }
            request.pageToken = next
        }
        // The filter is younger than the list in some versions.
        return pages.items.map(DepotMessages.snapshot).filter { $0.sandbox == sandbox }
    }

    /// Already gone is success.
    package func removeSnapshot(_ id: String) async throws {
        var request = DeleteSnapshotRequest()
        request.snapshot = DepotMessages.snapshot(id)
        do {
            _ = try await client.unary(
                SandboxMethods.deleteSnapshot, request, deadline: configuration.answerPatience)
        } catch {
            if error.code == .notFound && !error.isNotConnect { return }
            throw cancelled(error) ?? translated(error, "remove snapshot \(id)")
        }
    }
}

extension ProviderSnapshot {
    fileprivate var isUsable: Bool {
        if case .failed = state { false } else { true }
    }
}

extension DepotMessages {
    fileprivate static func snapshot(_ id: String) -> SnapshotRef {
        var reference = SnapshotRef()
        reference.id = id
        return reference
    }

    static func snapshot(_ message: SnapshotMessage) -> ProviderSnapshot {
        let state: ProviderSnapshot.State =
            switch message.status {
            case .ready: .ready
            case .failed: .failed(reason: message.hasErrorMessage ? message.errorMessage : "no reason is given")
            case .unspecified, .capturing, .UNRECOGNIZED: .capturing
            }
        return ProviderSnapshot(
            id: message.snapshotID, name: message.name, sandbox: SandboxID(message.sourceSandboxID), state: state,
            imageRef: message.hasImageRef ? message.imageRef : nil,
            sizeBytes: message.hasSizeBytes ? UInt64(exactly: message.sizeBytes) : nil,
            createdAt: time(message.createdAt))
    }
}
