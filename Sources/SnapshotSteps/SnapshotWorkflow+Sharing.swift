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
        guard let shared = environment.shared, !request.ignoresCatalog, [nil, .catalog].contains(request.register)
        else {
            return nil
        }
        // A run that was begun where nobody took turns goes on in the sandbox that it has, whatever others have made since.
        guard !run.ownedSomething else { return nil }
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
                environment: environment, request: request, shared: shared, key: resolution.key, attempt: step.attempt
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
        let known: SharedSnapshot?
        do {
            known = try await shared.snapshot(forKey: resolution.key)
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            // It is a word to people: no run ends for the want of it.
            return run.logger.debug("it is not known where \(resolution.key) is: \(error)")
        }
        guard let record = known, record.places.isEmpty else { return }
        try await run.emit(
            SandboxLabel.noteEvent, "\(record.id) is on \(record.hosts) only and in no registry: it is made here, too")
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

    /// The snapshot with the path that it has on this machine: the steps that made it may have been another one's.
    ///
    /// Looked for anew by each process, since what is recorded says nothing of this machine. One that is elsewhere is
    /// fetched, and nothing is made twice.
    ///
    /// - Throws: `elsewhere` when it cannot be had here; then the run goes on where it is.
    func here(
        _ snapshot: RegisteredSnapshot, _ request: SnapshotRequest, in run: RunContext,
        _ environment: SnapshotEnvironment
    ) async throws -> RegisteredSnapshot {
        // What an API or a registry keeps has no path.
        guard let shared = environment.shared, snapshot.path != nil else { return snapshot }
        var snapshot = snapshot
        if let own = try await environment.catalog.snapshot(forKey: snapshot.key) {
            snapshot.path = own.path
            return snapshot
        }
        // A checkpoint of this installation's alone.
        try await run.step("bring[\(environment.owner)]", retry: Self.patient, timeout: .seconds(24 * 3600)) {
            [snapshot] step in
            let fetched = try await FetchStep(
                environment: environment, request: request, shared: shared, key: snapshot.key, attempt: step.attempt
            ).run()
            guard fetched.snapshot == nil else { return }
            let hosts = try await shared.snapshot(forKey: snapshot.key)?.hosts ?? "the machine that made it"
            throw SnapshotError(
                .elsewhere,
                """
                snapshot \(snapshot.id) is on \(hosts) only, and cannot be fetched (\(fetched.problem ?? "nobody has it")): \
                resume the run there: snapwf resume \(run.id)
                """)
        }
        if let own = try await environment.catalog.snapshot(forKey: snapshot.key) { snapshot.path = own.path }
        return snapshot
    }

    /// A push. One that only the settings ask for fails no run: what was made is kept here, and the next run, or somebody,
    /// pushes it.
    ///
    /// - Returns: nil where the run goes on without.
    func pushing(
        to reference: String, _ request: SnapshotRequest, in run: RunContext, _ body: () async throws -> String
    ) async throws -> String? {
        do {
            return try await body()
        } catch let error as StepFailure
            where request.push == nil && [.error, .timeout, .crashed].contains(error.failure.kind)
        {
            try await run.emit(
                SandboxLabel.noteEvent,
                """
                not pushed to \(reference) (setting push): \(error.failure.message). It stays on this machine until it is \
                run again here, or pushed with snapwf snapshots push
                """)
            return nil
        }
    }

    /// Whether the sandbox pushes what it made.
    func isPushed(_ request: SnapshotRequest, _ environment: SnapshotEnvironment) -> Bool {
        request.push != nil || (environment.shared != nil && request.register != .api)
    }

    /// The registry client has retries of its own below this; a server that went away is waited for by the store.
    private static let patient = RetryPolicy.exponential(attempts: 8, base: .seconds(1), cap: .seconds(30))
}
