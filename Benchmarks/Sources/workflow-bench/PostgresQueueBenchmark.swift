import Foundation
import Synchronization
import Workflow

/// How soon waiting workers begin what is enqueued, and what a long queue costs.
struct PostgresQueueBenchmark {
    private let options: Options
    private let server: PostgresServer

    init(_ options: Options, _ server: PostgresServer) {
        self.options = options
        self.server = server
    }

    func figures() async throws -> [Figure] {
        var figures = try await latencies()
        figures += try await longQueue()
        return figures
    }

    // MARK: - Latency

    private func latencies() async throws -> [Figure] {
        var dbos: [Double]?
        if let python = options.dbosPython {
            let database = try await server.makeDatabase()
            dbos = try await DBOSPeer(python: python).queueLatencies(database: database)
            try await server.drop(database)
        }
        // Where the peer is not measured, the bare round trip of a durable transaction stands in its place.
        let commit = 1000 / (try await server.plainRate(clients: 1))
        let peer = dbos == nil ? "a one-row transaction of pgbench" : "DBOS Transact on the same server, one worker"
        var figures: [Figure] = []
        for workers in [1, 10, 50] {
            let samples = try await latencies(workers: workers).sorted()
            let theirs = (dbos ?? [commit]).sorted()
            for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
                figures.append(
                    Figure(
                        "on PostgreSQL: from enqueued to begun, \(workers) waiting worker\(workers == 1 ? "" : "s"), "
                            + name,
                        unit: "ms", better: .less, samples: [samples.quantile(share)], peer: peer,
                        peerSamples: [theirs.quantile(share)]))
            }
        }
        return figures
    }

    /// Milliseconds from the answer of the enqueuing to the first line of the workflow. All workers are engines of this process
    /// with connections of their own.
    private func latencies(workers count: Int) async throws -> [Double] {
        let database = try await server.makeDatabase()
        let begun = Beginnings()
        let sender = try await openEngine(.postgres(database))
        var workers: [(engine: Engine, worker: Worker)] = []
        for _ in 0..<count {
            let engine = try await openEngine(.postgres(database))
            workers.append((engine, try await engine.work(on: [QueueConfiguration("q", concurrency: 4)], Noted(begun))))
        }
        // What was begun with the workers is over by then.
        try await Task.sleep(for: .seconds(1))
        var samples: [Double] = []
        for number in 0..<options.claims {
            let handle = try await sender.enqueue(Noted(begun), input: number, queue: "q")
            let enqueued = ContinuousClock.now
            _ = try await handle.result()
            if let began = begun.time(of: number) { samples.append(enqueued.duration(to: began).inSeconds * 1000) }
        }
        for worker in workers {
            await worker.worker.drain(within: .seconds(5))
            await worker.engine.shutdown()
        }
        await sender.shutdown()
        try await server.drop(database)
        return samples
    }

    // MARK: - A long queue

    private func longQueue() async throws -> [Figure] {
        let database = try await server.makeDatabase()
        let engine = try await openEngine(.postgres(database))
        let few = 2000
        let firstEnqueue = try await enqueue(few, engine)
        let firstClaims = try await claim(few / 2, database)
        let memory = residentMegabytes()
        let enqueueing = try await enqueue(options.waitingRuns, engine)
        let grown = residentMegabytes() - memory
        let claims = try await claim(min(few / 2, options.waitingRuns), database)
        let size = try await server.ask("SELECT pg_total_relation_size('runs') / 1000000.0", in: database)
        await engine.shutdown()
        try await server.drop(database)
        let name = "on PostgreSQL: \(options.waitingRuns) waiting runs"
        func figure(
            _ what: String, _ unit: String, _ better: Figure.Better, _ value: Double, _ peer: String, _ other: Double
        )
            -> Figure
        {
            Figure(
                "\(name): \(what)", unit: unit, better: better, samples: [value], peer: peer, peerSamples: [other])
        }
        return [
            figure("enqueued by 64 callers", "runs/s", .more, enqueueing, "the first \(few)", firstEnqueue),
            figure(
                "executed by one worker, 64 at once", "runs/s", .more, claims, "with at most \(few) waiting",
                firstClaims),
            figure(
                "memory of the process that enqueued them, grown by", "MB", .less, grown, "its memory before", memory),
            figure(
                "the table of runs", "MB", .less, Double(size) ?? 0, "the memory of the process", memory + grown),
        ]
    }

    /// - Returns: runs a second.
    private func enqueue(_ count: Int, _ engine: Engine) async throws -> Double {
        let callers = 64
        let time = try await seconds {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for caller in 0..<callers {
                    group.addTask {
                        for number in stride(from: caller, to: count, by: callers) {
                            _ = try await engine.enqueue(Empty(), input: number, queue: "long")
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
        return Double(count) / time
    }

    /// - Returns: how many runs a second one worker executes, over the first `count`.
    private func claim(_ count: Int, _ database: String) async throws -> Double {
        let engine = try await openEngine(.postgres(database))
        let began = ContinuousClock.now
        let worker = try await engine.work(on: [QueueConfiguration("long", concurrency: 64)], Empty())
        while worker.executed < count { try await Task.sleep(for: .milliseconds(2)) }
        let rate = Double(worker.executed) / began.duration(to: .now).inSeconds
        await worker.drain(within: .seconds(5))
        await engine.shutdown()
        return rate
    }
}

/// When each run began.
private final class Beginnings: Sendable {
    private let times = Mutex<[Int: ContinuousClock.Instant]>([:])

    func note(_ number: Int) { times.withLock { $0[number] = .now } }
    func time(of number: Int) -> ContinuousClock.Instant? { times.withLock { $0[number] } }
}

/// Says that it began.
private struct Noted: WorkflowDefinition {
    static let name = "noted"
    static let version = 1
    let begun: Beginnings

    init(_ begun: Beginnings) { self.begun = begun }

    func run(_ number: Int, in run: RunContext) async throws -> Int {
        begun.note(number)
        return number
    }
}

/// Nothing but a beginning and an end.
private struct Empty: WorkflowDefinition {
    static let name = "empty"
    static let version = 1

    func run(_ number: Int, in run: RunContext) async throws -> Int { number }
}

extension [Double] {
    /// Of sorted values, by the nearest rank; 0 if there are none.
    fileprivate func quantile(_ share: Double) -> Double {
        guard !isEmpty else { return 0 }
        return self[Swift.min(count - 1, Int((Double(count) * share).rounded(.up)) - 1)]
    }
}

/// The memory of this process that is in use, in millions of bytes.
private func residentMegabytes() -> Double {
    let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
    let pages = text.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0
    return pages * 4096 / 1e6
}
