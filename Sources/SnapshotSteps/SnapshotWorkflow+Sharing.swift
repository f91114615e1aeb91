import Logging
import Workflow

/// The run's part in a store that installations share: a snapshot is made once, and the others fetch it.
extension SnapshotWorkflow {
    /// The snapshot, where another run has made it, or is about to: then that is waited for.
    ///
    /// - Returns: nil when it is to be made here.
    func fetched(
        _ request: SnapshotRequest, _ resolution: Resolution, in run: RunContext, _ environment: SnapshotEnvironment
    ) async throws -> RegisteredSnapshot? {
        guard let shared = environment.shared, !request.ignoresCatalog, [nil, .catalog].contains(request.register),
            // One that came from another store in the middle goes on with its sandbox, and ends it.
            !run.ownedSomething
        else { return nil }
        let travels = request.pushReference(forKey: resolution.key) != nil
        let turn = try await run.step("turn", retry: Self.patient, timeout: .seconds(24 * 3600)) { _ in
            try await TurnStep(
                environment: environment, shared: shared, key: resolution.key, runID: run.id.description,
                travels: travels
            ) { holder in
                try await run.emit(
                    SandboxLabel.noteEvent, "\(holder) makes the same snapshot: waiting for it, to fetch it then")
            }.run()
        }
        guard turn == .fetch else {
            try await tellWhereItIs(resolution, shared, run)
            return nil
        }
        let fetched = try await run.step("fetch", retry: Self.patient, timeout: .seconds(24 * 3600)) { step in
            try await FetchStep(
                environment: environment, request: request, shared: shared, key: resolution.key,
                isLast: step.attempt >= Self.fetches
            ).run()
        }
        if let snapshot = fetched.snapshot { return snapshot }
        try await run.emit(
            SandboxLabel.noteEvent, "it is made here, as it could not be fetched: \(fetched.problem ?? "nobody has it")"
        )
        return nil
    }

    /// A snapshot that never left its machine is made again.
    private func tellWhereItIs(_ resolution: Resolution, _ shared: SharedCatalog, _ run: RunContext) async throws {
        let record: SharedSnapshot?
        do {
            record = try await shared.snapshot(forKey: resolution.key)
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            // What is only told ends no run.
            return
        }
        guard let record, record.places.isEmpty else { return }
        try await run.emit(
            SandboxLabel.noteEvent, "\(record.id) is on \(record.hosts) only and in no registry: it is made here, too")
    }

    /// The snapshot as this machine has it. Where another one made it before this one took the run over, it is brought here.
    func here(
        _ snapshot: RegisteredSnapshot, _ request: SnapshotRequest, in run: RunContext,
        _ environment: SnapshotEnvironment
    ) async throws -> RegisteredSnapshot {
        guard let shared = environment.shared, snapshot.path != nil,
            try await environment.catalog.snapshot(forKey: snapshot.key) == nil
        else { return snapshot }
        // Once for each machine that has the run.
        let brought = try await run.step(
            "bring[\(environment.owner)]", retry: Self.patient, timeout: .seconds(24 * 3600)
        ) { _ in
            let output = try await FetchStep(
                environment: environment, request: request, shared: shared, key: snapshot.key, isLast: false
            ).run()
            guard let brought = output.snapshot else {
                throw SnapshotError(
                    .snapshotNotFound,
                    """
                    the run made \(snapshot.id) on another machine, and it cannot be brought here: \
                    \(output.problem ?? "nobody has it"). Run the image again
                    """)
            }
            return brought
        }
        var result = snapshot
        result.path = brought.path
        return result
    }

    /// Keeps the turn of the key while `body` makes the snapshot, for those that wait for it.
    ///
    /// A run that is resumed has its turn again, unless another run got it meanwhile: then both make it.
    func havingTheTurn(
        _ request: SnapshotRequest, _ resolution: Resolution, _ run: RunContext, _ environment: SnapshotEnvironment,
        _ body: () async throws -> RegisteredSnapshot
    ) async throws -> RegisteredSnapshot {
        guard let shared = environment.shared else { return try await body() }
        var turn: SharedTurn?
        do {
            if request.place ?? .local != .local { try await shared.noteInstallation() }
            if request.pushReference(forKey: resolution.key) != nil, request.register != .api {
                let step = TurnStep(
                    environment: environment, shared: shared, key: resolution.key, runID: run.id.description,
                    travels: true, onWait: { _ in })
                if case .mine(let own) = try await step.turn() { turn = own }
            }
        } catch let error as SnapshotError where error.isRetryable {
            // Without it the same may be made twice, and nothing worse; a server that stays away stops the run by its own writes.
            environment.logger.warning("no turn could be taken: \(error)")
        }
        let result: Result<RegisteredSnapshot, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        await turn?.end()
        return try result.get()
    }

    /// Whether the sandbox pushes what it made.
    func isPushed(_ request: SnapshotRequest, _ environment: SnapshotEnvironment) -> Bool {
        request.push != nil || (environment.shared != nil && request.register != .api)
    }

    /// How often a fetch is tried before the image is made here.
    private static let fetches = 3

    /// The registry client has retries of its own below this; a server that went away is waited for by the store.
    private static let patient = RetryPolicy.exponential(attempts: 8, base: .seconds(1), cap: .seconds(30))
}
