import Workflow

/// How fast steps become durable, beside one-row transactions of plain SQLite and the same steps in DBOS Transact. They
/// take turns, so that a disk that slows down does so for all.
struct CommitBenchmark {
    private let options: Options
    private let disk: BenchmarkDirectory

    init(_ options: Options, _ disk: BenchmarkDirectory) {
        self.options = options
        self.disk = disk
    }

    private struct Samples {
        var plain: [Double] = []
        var sequential: [Double] = []
        var atOnce: [Double] = []
        var dbosSequential: [Double] = []
        var dbosAtOnce: [Double] = []
        var dbos: DBOSPeer.Answer?
    }

    func figures() async throws -> [Figure] {
        var samples = Samples()
        for _ in 0..<options.rounds {
            samples.plain.append(try await plainRate())
            samples.sequential.append(try await sequentialRate())
            samples.atOnce.append(try await atOnceRate())
            if let python = options.dbosPython {
                let answer = try await DBOSPeer(python: python).measure(
                    database: try disk.plainDatabase(), runs: options.runs)
                samples.dbosSequential += answer.sequential
                samples.dbosAtOnce += answer.concurrent
                samples.dbos = answer
            }
        }
        return figures(samples)
    }

    private func figures(_ samples: Samples) -> [Figure] {
        let sequential = "sequential tiny steps of one run"
        let atOnce = "tiny steps of \(options.runs) runs at once"
        let peer = "one-row transactions of plain libsqlite3, WAL, synchronous = FULL"
        func figure(_ name: String, _ own: [Double], _ peer: String, _ theirs: [Double]) -> Figure {
            Figure(name, unit: "steps/s", better: .more, samples: own, peer: peer, peerSamples: theirs)
        }
        var figures = [
            figure(sequential, samples.sequential, peer, samples.plain),
            figure(atOnce, samples.atOnce, peer, samples.plain),
        ]
        if let dbos = samples.dbos {
            let peer = "the same in DBOS Transact \(dbos.version) on SQLite, journal mode \(dbos.journal ?? "unknown")"
            figures.append(figure(sequential, samples.sequential, peer, samples.dbosSequential))
            figures.append(figure(atOnce, samples.atOnce, peer, samples.dbosAtOnce))
        }
        return figures
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
        let perRun = max(options.steps * 10 / options.runs, 1)
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
