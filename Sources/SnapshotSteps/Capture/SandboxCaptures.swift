import Files
import FoundationEssentials
import HelperInterface
import Logging
import OCI
package import Sandbox
package import Workflow

/// A sandbox's work directory on its way into the catalog, or there.
package struct SandboxCapture: Hashable, Sendable {
    package enum State: Hashable, Sendable {
        case capturing
        case ready(size: UInt64)
        case failed(reason: String)
    }

    package let id: String
    package let source: SandboxID
    package let name: String?
    package let createdAt: UnixTime
    package var state: State
}

/// Captures the work directories of this machine's sandboxes as snapshots of the catalog.
///
/// A capture packs the directory as an image of one layer, and the rest is an ordinary run of the snapshot workflow over
/// that image. So what holds of runs holds of it: killed in the run, it goes on after ``resume()``; killed before, while
/// it packs, it has failed, since the directory may have changed.
package actor SandboxCaptures {
    private let environment: SnapshotEnvironment
    private let engine: Engine
    /// Captures that this process works on.
    private var active: [String: Task<Void, Never>] = [:]

    /// The label of a run that names its capture.
    private static let label = "capture"

    private struct Record: Codable {
        var source: SandboxID
        var name: String?
        var createdAt: UnixTime
    }

    package init(environment: SnapshotEnvironment, engine: Engine) {
        self.environment = environment
        self.engine = engine
    }

    /// Goes on with what a process that died left behind.
    package func resume() async throws {
        for id in try await ids() {
            let layout = layout(id)
            if let run = try await run(of: id) {
                if run.status == .interrupted || run.status == .pending { convert(id) }
            } else if await onOwnThread({ layout.isWhole }) {
                convert(id)
            }
        }
    }

    /// Gives up what is packed, and leaves what is converted to a later ``resume()``; the engine is to be interrupted.
    package func stop() async {
        let tasks = Array(active.values)
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
    }

    package func begin(_ sandbox: SandboxInfo, name: String?) async throws -> SandboxCapture {
        let id = "cap-" + (0..<16).map { _ in String(UInt8.random(in: 0..<16), radix: 16) }.joined()
        let record = Record(source: sandbox.id, name: name, createdAt: .now())
        let directory = directory(id)
        try await onOwnThread {
            try makeDirectories(directory, mode: 0o700)
            try replaceFile(directory + "/capture.json", Array(try JSONEncoder().encode(record)), mode: 0o600)
        }
        let layout = layout(id)
        let provider = environment.provider
        active[id] = Task {
            do {
                try await layout.pack(sandbox.id, provider)
                try await execute(id)
            } catch {
                await fail(id, error)
            }
            active[id] = nil
        }
        return SandboxCapture(
            id: id, source: record.source, name: name, createdAt: record.createdAt, state: .capturing)
    }

    /// `nil` when there is no such capture.
    package func capture(_ id: String) async throws -> SandboxCapture? {
        guard try await ids().contains(id) else { return nil }
        let directory = directory(id)
        let (document, failure) = try await onOwnThread {
            (
                try readFile(directory + "/capture.json", limit: 64 << 10),
                try readFile(directory + "/failure", limit: 64 << 10)
            )
        }
        // Its directory was made and its record was not: whoever asked for it was never told of it.
        guard let document else { return nil }
        let record = try JSONDecoder().decode(Record.self, from: Data(document))
        var state = SandboxCapture.State.capturing
        if let failure {
            state = .failed(reason: String(decoding: failure, as: UTF8.self))
        } else if let run = try await run(of: id) {
            state = Self.state(of: run)
        } else if active[id] == nil {
            state = .failed(reason: "the server was stopped while it read the sandbox; capture it again")
        }
        return SandboxCapture(
            id: id, source: record.source, name: record.name, createdAt: record.createdAt, state: state)
    }

    package func captures() async throws -> [SandboxCapture] {
        var all: [SandboxCapture] = []
        for id in try await ids() {
            if let capture = try await capture(id) { all.append(capture) }
        }
        return all
    }

    /// Removes a capture and its snapshot; one that is under way is given up.
    ///
    /// - Returns: whether there was one.
    package func remove(_ id: String) async throws -> Bool {
        guard try await ids().contains(id) else { return false }
        active[id]?.cancel()
        await active[id]?.value
        if let run = try await run(of: id) {
            try await environment.catalog.remove(madeBy: run.id.description)
        }
        let directory = directory(id)
        try await onOwnThread { try removeTree(directory) }
        return true
    }

    // MARK: -

    private func convert(_ id: String) {
        active[id] = Task {
            do {
                try await execute(id)
            } catch {
                await fail(id, error)
            }
            active[id] = nil
        }
    }

    /// Runs the workflow over the packed image, or goes on with it.
    private func execute(_ id: String) async throws {
        let workflow = SnapshotWorkflow(environment: environment)
        let handle: RunHandle<SnapshotResult>
        if let run = try await run(of: id) {
            handle = try await engine.resume(run.id, as: workflow)
        } else {
            let layout = layout(id)
            let image = try await onOwnThread { try layout.reference() }
            handle = try await engine.start(
                workflow, input: SnapshotRequest(image: try ImageReference(parsing: image), platform: .host),
                dedupKey: "capture-\(id)", labels: [Self.label: id, "image": image])
        }
        _ = try await handle.result()
        let layout = layout(id)
        try await onOwnThread { try layout.remove() }
    }

    /// Notes why; a capture whose run was only interrupted goes on later.
    private func fail(_ id: String, _ error: any Error) async {
        if error is CancellationError { return }
        if let error = error as? WorkflowError, error.code == .interrupted { return }
        let directory = directory(id)
        let layout = layout(id)
        do {
            try await onOwnThread {
                try replaceFile(directory + "/failure", Array("\(error)".utf8.prefix(4096)), mode: 0o600)
                try layout.remove()
            }
        } catch {
            environment.logger.warning("the failure of capture \(id) could not be noted: \(error)")
        }
    }

    private static func state(of run: RunRecord) -> SandboxCapture.State {
        switch run.status {
        case .succeeded:
            guard let output = run.output,
                let result = try? JSONDecoder().decode(SnapshotResult.self, from: Data(output.utf8))
            else { return .failed(reason: "its result cannot be read") }
            return .ready(size: result.size)
        case .failed, .cancelled: return .failed(reason: run.failure?.message ?? "the run was cancelled")
        case .pending, .running, .sleeping, .interrupted: return .capturing
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

    private func layout(_ id: String) -> CaptureLayout { CaptureLayout(directory: directory(id) + "/layout") }
}
