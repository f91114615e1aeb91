/// What a run of a queue does besides: it works only while it has a place there.
extension RunExecution {
    /// Something of the run begins to work.
    ///
    /// - Returns: what has to be written with its intent.
    func enterBody() async throws -> [RunWrite] {
        guard let place else { return withActivity { $0.beginBody() }.map { [$0] } ?? [] }
        return try await place.gate.exclusively {
            if withActivity({ $0.beginBodyIfAwake() }) { return [] }
            try await rouse(place)
            withActivity { $0.beginBodyRoused() }
            return []
        }
    }

    /// A wait of the run is over.
    ///
    /// - Returns: what has to be written with its outcome.
    func leaveWait(_ name: String) async throws -> [RunWrite] {
        guard place != nil else { return withActivity { $0.endSleep(name) }.map { [$0] } ?? [] }
        if let write = withActivity({ $0.endSleepIfOthersGoOn(name) }) { return write }
        do {
            _ = try await enterBody()
        } catch {
            withActivity { $0.abandonSleep(name) }
            throw error
        }
        return withActivity { activity in
            _ = activity.endSleep(name)
            return activity.endBodyAndSleep().map { [$0] } ?? []
        }
    }

    /// Something of the run ended to work. Nothing has to be written for it: but a run of a queue may sleep now, and others
    /// may wait for its place.
    func leaveBody() {
        guard place != nil else { return withActivity { $0.endBody() } }
        guard let write = withActivity({ $0.endBodyAndSleep() }) else { return }
        do {
            try enqueue([write], at: .status)
        } catch {
            // Whoever cut the run off has told its steps too.
        }
    }

    /// Whether the run works on nothing, by its row.
    var isAsleep: Bool { withActivity { $0.isAsleep } }

    /// Gives the place up if the run goes to sleep with these changes.
    func yieldPlace(_ writes: [RunWrite]) {
        guard let place else { return }
        for case .status(.sleeping, _) in writes { place.giveUp() }
    }

    /// Says how a run of a queue is left: for another worker, or for a person where no worker could go on. Nothing is said
    /// where the store or another holder ended it.
    func rest(_ reason: WorkflowError) async throws {
        let writes: [RunWrite]
        switch reason.code {
        case .interrupted: writes = [.rest(.yielded)]
        case .takenOver, .engineClosed, .storeFull, .storeBusy, .storeUnavailable, .storeCorrupt, .storeFailed: return
        default:
            writes = [.rest(.parked), .event(NewEvent("run.parked", payload: ["reason": reason.message]))]
        }
        try core.pass(.before, .rest)
        try await core.store.commit(
            WriteBatch(run: id, epoch: epoch, writes: writes, urgency: .now, during: core.probe(.during, .rest)))
        try core.pass(.after, .rest)
    }

    /// How often is looked again whether the queue has a place for a run that slept.
    private static let interval = Duration.milliseconds(100)

    private func rouse(_ place: RunPlace) async throws {
        let ending = await call { [self] in
            try await place.takeAgain()
            var isTold = false
            do {
                while try await !core.store.rouse(id, epoch: epoch, queue: place.places.queue) {
                    // Who is due counts as one that works, where others count: so nobody new comes before it.
                    if !isTold { try enqueue([.status(.sleeping, wakeAt: now)], at: .status, keepsPlace: true) }
                    isTold = true
                    try await Task.sleep(for: Self.interval, clock: .continuous)
                }
            } catch {
                place.giveUp()
                throw error
            }
        }
        switch ending {
        case .returned: try require(.effect)
        case .threw(let error as WorkflowError): throw fail(error)
        case .threw, .timedOut, .abandoned:
            try require(.effect)
            throw CancellationError()
        }
    }
}
