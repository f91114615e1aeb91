import Files
import FoundationEssentials
import HelperInterface
import Logging
import OCI
package import Sandbox
import Threads
package import Workflow

/// Captures the work directories of this machine's sandboxes as snapshots of the catalog.
///
/// A capture packs the directory as an image of one layer, and the rest is an ordinary run of the snapshot workflow over
/// that image. So what holds of runs holds of it: killed in the run, it goes on after ``resume()``; killed before, while
/// it packs, it has failed, since the directory may have changed. How it ended is noted in its own directory, which
/// outlives the run's record; the packed image is removed then.
package actor SandboxCaptures {
    private let environment: SnapshotEnvironment
    private let engine: Engine
    /// Captures that this process works on.
    private var active: [String: Work] = [:]
    /// Captures that are to be removed: nothing is noted of them any more.
    private var removing: Set<String> = []
    /// Few pack or convert at a time: each needs the sandbox's size on disk.
    private let turns = Turns(atOnce: 2, line: .max)

    /// How many captures may be under way, most of them in line.
    private static let largestCount = 256
    /// How long a capture may take to end once it is given up.
    private static let patience = Duration.seconds(60)
    /// The label of a run that names its capture.
    private static let label = "capture"
    private static let stopped = "the server was stopped while it read the sandbox; capture it again"

    private struct Work {
        /// Nobody else works on the capture; `nil` until its directory is made.
        var lock: CaptureLock?
        /// `nil` until its record is on disk.
        var task: Task<Void, Never>?
    }

    package init(environment: SnapshotEnvironment, engine: Engine) {
        self.environment = environment
        self.engine = engine
    }

    /// Goes on with what a process that died left behind, and removes what nobody will go on with.
    package func resume() async throws {
        for id in try await ids() {
            do {
                try await resume(id)
            } catch {
                environment.logger.warning("capture \(id) could not be gone on with: \(error)")
            }
        }
    }

    private func resume(_ id: String) async throws {
        let (directory, layout) = (directory(id), layout(id))
        // Another server over this state directory works on it.
        guard let lock = try await onOwnThread({ try CaptureLock.take(directory) }) else { return }
        let documents = try await onOwnThread { try CaptureDocuments(reading: directory) }
        if documents.record == nil {
            // Whoever asked for it was never told of it.
            try await onOwnThread { try removeTree(directory) }
        } else if documents.outcome != nil || documents.failure != nil {
            try await onOwnThread { try layout.remove() }
        } else {
            active[id] = Work(lock: lock, task: nil)
            work(on: id) { _ in }
        }
    }

    /// Gives up what is packed, and leaves what is converted to a later ``resume()``; the engine is to be interrupted.
    package func stop() async {
        let tasks = active.values.compactMap(\.task)
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
    }

    /// - Returns: the capture, whose record is durable. It waits for its turn where others are under way.
    /// - Throws: `unavailable` where too many are under way.
    package func begin(_ sandbox: SandboxInfo, name: String?) async throws -> SandboxCapture {
        guard active.count < Self.largestCount else {
            throw SnapshotError(
                .unavailable, "\(active.count) snapshots are being taken; try again when some are done", retryable: true
            )
        }
        let id = "cap-" + (0..<16).map { _ in String(UInt8.random(in: 0..<16), radix: 16) }.joined()
        let record = CaptureDocuments.Record(source: sandbox.id, name: name, createdAt: .now())
        let directory = directory(id)
        // Before anybody can see the record: a capture that nobody works on has failed.
        active[id] = Work()
        do {
            active[id]?.lock = try await onOwnThread {
                try makeDirectories(directory, mode: 0o700)
                let lock = try CaptureLock.take(directory)
                try CaptureDocuments.write(record, in: directory)
                return lock
            }
        } catch {
            active[id] = nil
            throw error
        }
        let provider = environment.provider
        work(on: id) { layout in try await layout.pack(sandbox.id, provider) }
        return SandboxCapture(
            id: id, source: record.source, name: record.name, createdAt: record.createdAt, state: .capturing)
    }

    /// `nil` when there is no such capture.
    package func capture(_ id: String) async throws -> SandboxCapture? {
        guard try await ids().contains(id) else { return nil }
        let directory = directory(id)
        // Before the documents: what has ended by now has noted how.
        let isActive = active[id] != nil
        let documents = try await onOwnThread { try CaptureDocuments(reading: directory) }
        // Its directory was made and its record was not: whoever asked for it was never told of it.
        guard let record = documents.record else { return nil }
        let state: SandboxCapture.State
        if let outcome = documents.outcome {
            state = .ready(size: outcome.size)
        } else if let failure = documents.failure {
            state = .failed(reason: failure)
        } else if isActive {
            state = .capturing
        } else if let run = try await run(of: id) {
            state = Self.state(of: run)
        } else {
            let isElsewhere = try await onOwnThread { try CaptureLock.take(directory) == nil }
            state = isElsewhere ? .capturing : .failed(reason: Self.stopped)
        }
        return SandboxCapture(
            id: id, source: record.source, name: record.name, createdAt: record.createdAt, state: state,
            key: documents.outcome?.key)
    }

    package func captures() async throws -> [SandboxCapture] {
        var all: [SandboxCapture] = []
        for id in try await ids() {
            if let capture = try await capture(id) { all.append(capture) }
        }
        return all
    }

    /// Removes a capture and its snapshot; one that is under way is given up, and its run cancelled.
    ///
    /// Once begun this goes to its end whether or not its task is cancelled. After a crash the capture is still there,
    /// and may be removed again.
    ///
    /// - Returns: whether there was one.
    /// - Throws: `unavailable` when it did not end in time; it is given up all the same, and can be removed later.
    package func remove(_ id: String) async throws -> Bool {
        guard try await ids().contains(id) else { return false }
        try await Task { try await discard(id) }.value
        return true
    }

    private func discard(_ id: String) async throws {
        removing.insert(id)
        try await giveUp(id)
        let directory = directory(id)
        // A second removal at the same time may have been faster.
        guard try await ids().contains(id) else { return }
        if let outcome = try await onOwnThread({ try CaptureDocuments(reading: directory).outcome }) {
            // By its key too: it is this capture's alone, whichever run made the row.
            try await environment.catalog.remove(madeBy: outcome.run, key: outcome.key)
        }
        if let run = try await run(of: id) {
            try await environment.catalog.remove(madeBy: run.id.description)
        }
        try await onOwnThread { try removeTree(directory) }
        removing.remove(id)
    }

    /// Ends what is under way of a capture and waits, within a bound, until it is over.
    private func giveUp(_ id: String) async throws {
        let end = ContinuousClock.now + Self.patience
        let directory = directory(id)
        while true {
            active[id]?.task?.cancel()
            let run = try await run(of: id)
            if let run, !run.status.isFinished { try await cancel(run, isOurs: active[id] != nil) }
            if active[id] == nil, run?.status.isFinished ?? true {
                let isFree = try await onOwnThread { try !fileExists(directory) || CaptureLock.take(directory) != nil }
                if isFree { return }
            }
            guard ContinuousClock.now < end else {
                throw SnapshotError(
                    .unavailable, "capture \(id) was given up and has not ended yet; delete it again", retryable: true)
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    private func cancel(_ run: RunRecord, isOurs: Bool) async throws {
        do {
            if run.cancelRequestedAt == nil { try await engine.cancel(run.id) }
            // Nobody holds it: whoever resumes it carries the cancellation out.
            if !isOurs, run.status == .interrupted || run.status == .pending {
                _ = try await engine.resume(run.id, as: SnapshotWorkflow(environment: environment))
            }
        } catch let error as WorkflowError {
            switch error.code {
            case .alreadyFinished, .runHeld: break
            default: throw error
            }
        }
    }

    // MARK: - Work

    /// Prepares a capture's image, runs the workflow over it, and notes how that ended.
    private func work(on id: String, _ prepare: @escaping @Sendable (CaptureLayout) async throws -> Void) {
        active[id]?.task = Task {
            do {
                try await turns.run {
                    try await prepare(layout(id))
                    await settle(id, try await execute(id))
                }
            } catch {
                await fail(id, error)
            }
            active[id] = nil
        }
    }

    /// Runs the workflow over the packed image, or goes on with it, or finds out how it ended.
    private func execute(_ id: String) async throws -> CaptureDocuments.Outcome {
        let workflow = SnapshotWorkflow(environment: environment)
        while true {
            try Task.checkCancellation()
            let run = try await run(of: id)
            let handle: RunHandle<SnapshotResult>
            switch run?.status {
            case .succeeded?:
                guard let run, let outcome = CaptureDocuments.Outcome(of: run) else {
                    throw SnapshotError(.failed, "its result cannot be read")
                }
                return outcome
            case .failed?, .cancelled?:
                throw SnapshotError(.failed, run?.failure?.message ?? "the run was cancelled")
            case .running?, .sleeping?:
                // Another process executes it.
                try await Task.sleep(for: .seconds(1))
                continue
            case .pending?, .interrupted?:
                guard let run else { continue }
                handle = try await engine.resume(run.id, as: workflow)
            case nil:
                handle = try await start(id, workflow)
            }
            let result = try await handle.result()
            return CaptureDocuments.Outcome(run: handle.id, result: result)
        }
    }

    private func start(_ id: String, _ workflow: SnapshotWorkflow) async throws -> RunHandle<SnapshotResult> {
        let (layout, directory) = (layout(id), directory(id))
        let image = try await onOwnThread { layout.isWhole ? try layout.reference() : nil }
        guard let image else { throw SnapshotError(.failed, Self.stopped) }
        var input = SnapshotRequest(image: try ImageReference(parsing: image), platform: .host)
        input.capturedFrom = try await onOwnThread { try CaptureDocuments(reading: directory).record?.source.rawValue }
        try Task.checkCancellation()
        return try await engine.start(
            workflow, input: input, dedupKey: "capture-\(id)", labels: [Self.label: id, "image": image])
    }

    /// Notes that it succeeded; only then is the image not needed any more.
    private func settle(_ id: String, _ outcome: CaptureDocuments.Outcome) async {
        let (directory, layout) = (directory(id), layout(id))
        do {
            try await onOwnThread {
                try CaptureDocuments.write(outcome, in: directory)
                try layout.remove()
            }
        } catch {
            environment.logger.warning("the result of capture \(id) could not be noted: \(error)")
        }
    }

    /// Notes why; a capture whose image is whole goes on later where it was only interrupted.
    private func fail(_ id: String, _ error: any Error) async {
        guard !removing.contains(id) else { return }
        let (directory, layout) = (directory(id), layout(id))
        var reason = "\(error)"
        if Task.isCancelled || Self.isInterruption(error) {
            if await onOwnThread({ layout.isWhole }) { return }
            reason = Self.stopped
        }
        let why = reason
        do {
            // A run that failed late may have registered its snapshot.
            if let run = try await run(of: id), run.status.isFinished {
                try await environment.catalog.remove(madeBy: run.id.description, sparingUsed: true)
            }
            try await onOwnThread {
                try CaptureDocuments.write(failure: why, in: directory)
                try layout.remove()
            }
        } catch {
            environment.logger.warning("the failure of capture \(id) could not be noted: \(error)")
        }
    }

    private static func isInterruption(_ error: any Error) -> Bool {
        if error is CancellationError { return true }
        switch (error as? WorkflowError)?.code {
        case .interrupted?, .engineClosed?, .takenOver?, .runHeld?: return true
        default: return false
        }
    }

    private static func state(of run: RunRecord) -> SandboxCapture.State {
        switch run.status {
        case .succeeded:
            CaptureDocuments.Outcome(of: run).map { .ready(size: $0.size) }
                ?? .failed(reason: "its result cannot be read")
        case .failed, .cancelled: .failed(reason: run.failure?.message ?? "the run was cancelled")
        case .pending, .running, .sleeping, .interrupted: .capturing
        }
    }

    private func run(of id: String) async throws -> RunRecord? {
        try await engine.runs(
            RunQuery(workflow: SnapshotWorkflow.name, labels: [Self.label: id], limit: 1)
        ).first
    }

    private func ids() async throws -> [String] {
        let root = environment.state.captures
        return try await onOwnThread { fileExists(root) ? try directoryNames(root).sorted() : [] }
    }

    private func directory(_ id: String) -> String { environment.state.captures + "/" + id }

    private func layout(_ id: String) -> CaptureLayout {
        CaptureLayout(directory: directory(id) + "/layout", capture: id)
    }
}
