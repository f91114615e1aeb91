import Workflow

/// How fast steps become durable, beside one-row transactions of plain SQLite. They take turns, so that a disk that
/// slows down does so for both.
struct CommitBenchmark {
    private let options: Options
    private let disk: BenchmarkDirectory

    init(_ options: Options, _ disk: BenchmarkDirectory) {
        self.options = options
        self.disk = disk
    }

    func figures() async throws -> [Figure] {
        var plain: [Double] = []
        var sequential: [Double] = []
        var atOnce: [Double] = []
        for _ in 0..<options.rounds {
            plain.append(try await plainRate())
            sequential.append(try await sequentialRate())
            atOnce.append(try await atOnceRate())
        }
        let peer = "one-row transactions of plain libsqlite3, WAL, synchronous = FULL"
        return [
            Figure(
                "sequential tiny steps of one run", unit: "steps/s", better: .more, samples: sequential, peer: peer,
                peerSamples: plain),
            Figure(
                "tiny steps of \(options.runs) runs at once", unit: "steps/s", better: .more, samples: atOnce,
                peer: peer, peerSamples: plain),
        ]
    }

    private func plainRate() async throws -> Double {
        let plain = try PlainSQLite(path: try disk.plainDatabase())
        try plain.commit(100)
        return Double(options.steps) / (try await seconds { try plain.commit(options.steps) })
    }

    private func sequentialRate() async throws -> Double {
        let engine = try await openEngine(disk.database())
        _ = try await engine.start(Steps(), input: 100).result()
        let time = try await seconds { _ = try await engine.start(Steps(), input: options.steps).result() }
        await engine.shutdown()
        return Double(options.steps) / time
    }

    private func atOnceRate() async throws -> Double {
        let engine = try await openEngine(disk.database())
        _ = try await engine.start(Steps(), input: 100).result()
        let perRun = max(options.steps * 4 / options.runs, 1)
        let time = try await seconds {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<options.runs {
                    group.addTask { _ = try await engine.start(Steps(), input: perRun).result() }
                }
                try await group.waitForAll()
            }
        }
        await engine.shutdown()
        return Double(perRun * options.runs) / time
    }
}
