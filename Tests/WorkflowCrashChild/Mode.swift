import Dispatch
import Foundation
import Glibc
import Workflow

/// Prints a line at once.
@Sendable func say(_ line: String) {
    FileHandle.standardOutput.write(Data((line + "\n").utf8))
}

/// What the process does.
enum Mode: String {
    /// Takes up the only run of the database, or starts one, and prints its result.
    case run
    /// Starts a run that waits for the file `go` of its world.
    case hold
    /// Tries once to take up the run that another process holds.
    case take
    /// Executes `COUNT` runs with worlds `0`, `1`, … in the world, together with whoever else does, until all are over.
    case work
    /// Wants to execute the one run of marked steps, as others do, until it is over.
    case fight
    /// Takes runs of the queue `chaos`, `COUNT` at once, with the provider at `provider` in its world, until SIGTERM: then it
    /// drains.
    case serve
    /// Starts the only family of the store in a queue, or finds it, works there and sends it what it waits for, until it is over.
    case family

    func execute(_ engine: Engine, _ world: DiskWorld, _ count: Int) async throws {
        switch self {
        case .run: try await run(engine, world)
        case .hold:
            let handle = try await engine.start(Holding(world: world), input: 1)
            say("holding \(handle.id)")
            say("result \(try await handle.result())")
        case .take:
            guard let run = try await engine.runs().first else { return say("nothing") }
            do {
                let handle = try await engine.resume(run.id, as: Holding(world: world))
                say("taken")
                say("result \(try await handle.result())")
            } catch let error as WorkflowError where error.isHeld {
                say("held")
            }
        case .work:
            try await withThrowingTaskGroup { group in
                for index in 0..<count {
                    let part = DiskWorld(directory: "\(world.directory)/\(index)")
                    group.addTask {
                        try await share(engine, Disk(world: part), input: 40 + index, key: "disk \(index)")
                    }
                }
                try await group.waitForAll()
            }
        case .fight: try await share(engine, Marked(world: world), input: count, key: "marked")
        case .serve: try await serve(engine, world, count)
        case .family: try await keepFamily(engine, world)
        }
    }

    private func serve(_ engine: Engine, _ world: DiskWorld, _ count: Int) async throws {
        signal(SIGTERM, SIG_IGN)
        let source = DispatchSource.makeSignalSource(signal: SIGTERM)
        let (signals, continuation) = AsyncStream.makeStream(of: Void.self)
        source.setEventHandler { continuation.yield(()) }
        source.resume()
        let worker = try await engine.work(
            on: [QueueConfiguration("chaos", concurrency: count, deathLimit: 1000)],
            Sandboxed(provider: RemoteProvider(path: world.directory + "/provider")))
        say("serving")
        for await _ in signals { break }
        await worker.drain(within: .seconds(2))
        say("drained after \(worker.executed)")
        source.cancel()
    }

    private func keepFamily(_ engine: Engine, _ world: DiskWorld) async throws {
        let worker = try await engine.work(
            on: [QueueConfiguration("family", concurrency: 4, deathLimit: 1000)], DiskFamily(world: world),
            DiskMember(world: world))
        let handle = try await engine.enqueue(
            DiskFamily(world: world), input: 40, queue: "family", dedupKey: "family")
        do {
            try await engine.signal(handle.id, "word", 1, key: "first")
            try await engine.signal(handle.id, "word", 2, key: "second")
        } catch let error as WorkflowError where error.code == .alreadyFinished(.succeeded) {
            // An earlier process did all of it.
        }
        say("result \(try await handle.result())")
        await worker.drain(within: .seconds(1))
    }

    private func run(_ engine: Engine, _ world: DiskWorld) async throws {
        while true {
            do {
                return try await runOnce(engine, world)
            } catch let error as WorkflowError where error.isHeld {
                // The lease of a dead process ends in a while; its lock file is free at once.
                try await Task.sleep(for: .milliseconds(10))
            }
        }
    }

    private func runOnce(_ engine: Engine, _ world: DiskWorld) async throws {
        let handle: RunHandle<Int>?
        if let run = try await engine.runs().first {
            handle = run.recordedStatus.isFinished ? nil : try await engine.resume(run.id, as: Disk(world: world))
        } else {
            handle = try await engine.start(Disk(world: world), input: 40)
        }
        if let handle { say("result \(try await handle.result())") }
    }
}

/// Starts the run with the key, or takes it up as often as nobody else has it, until it is over.
private func share<W: WorkflowDefinition>(_ engine: Engine, _ workflow: W, input: W.Input, key: String) async throws {
    var wasHeld = false
    while true {
        do {
            let started = try await engine.start(workflow, input: input, dedupKey: key)
            let handle = started.isExisting ? try await engine.resume(started.id, as: workflow) : started
            say("took \(started.id)")
            return say("result \(try await handle.result())")
        } catch let error as WorkflowError where error.isHeld {
            if !wasHeld { say("held") }
            wasHeld = true
            try await Task.sleep(for: .milliseconds(2))
        } catch let error as WorkflowError where error.code == .storeBusy {
            say("busy")
        } catch let error as WorkflowError where error.code == .alreadyFinished(.succeeded) {
            return say("finished")
        }
    }
}

extension WorkflowError {
    var isHeld: Bool {
        if case .runHeld = code { return true }
        return false
    }
}
