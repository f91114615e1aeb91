import Workflow

/// How fast steps become durable on a PostgreSQL server, beside one-row transactions of pgbench and the same steps in DBOS
/// Transact on the same server. They take turns.
struct PostgresCommitBenchmark {
    private let options: Options
    private let server: PostgresServer

    init(_ options: Options, _ server: PostgresServer) {
        self.options = options
        self.server = server
    }

    private struct Samples {
        var plain: [Double] = []
        var plainAtOnce: [Double] = []
        var sequential: [Double] = []
        var atOnce: [Double] = []
        var dbosSequential: [Double] = []
        var dbosAtOnce: [Double] = []
        var dbosVersion = ""
    }

    func figures() async throws -> [Figure] {
        var samples = Samples()
        for _ in 0..<options.rounds {
            samples.plain.append(try await server.plainRate(clients: 1))
            samples.plainAtOnce.append(try await server.plainRate(clients: options.runs))
            samples.sequential.append(try await rate(runs: 1, stepsOfEach: options.steps))
            samples.atOnce.append(
                try await rate(runs: options.runs, stepsOfEach: max(options.steps * 10 / options.runs, 1)))
            if let python = options.dbosPython {
                let database = try await server.makeDatabase()
                let answer = try await DBOSPeer(python: python).measure(database: database, runs: options.runs)
                try await server.drop(database)
                samples.dbosSequential += answer.sequential
                samples.dbosAtOnce += answer.concurrent
                samples.dbosVersion = answer.version
            }
        }
        return figures(samples)
    }

    private func figures(_ samples: Samples) -> [Figure] {
        let sequential = "on PostgreSQL: sequential tiny steps of one run"
        let atOnce = "on PostgreSQL: tiny steps of \(options.runs) runs at once"
        func figure(_ name: String, _ own: [Double], _ peer: String, _ theirs: [Double]) -> Figure {
            Figure(name, unit: "steps/s", better: .more, samples: own, peer: peer, peerSamples: theirs)
        }
        var figures = [
            figure(sequential, samples.sequential, "one-row transactions of pgbench, one client", samples.plain),
            figure(
                atOnce, samples.atOnce, "one-row transactions of pgbench, \(options.runs) clients", samples.plainAtOnce),
        ]
        if options.dbosPython != nil {
            let peer = "the same in DBOS Transact \(samples.dbosVersion) on the same server"
            figures.append(figure(sequential, samples.sequential, peer, samples.dbosSequential))
            figures.append(figure(atOnce, samples.atOnce, peer, samples.dbosAtOnce))
        }
        return figures
    }

    private func rate(runs: Int, stepsOfEach count: Int) async throws -> Double {
        let database = try await server.makeDatabase()
        let engine = try await openEngine(.postgres(database))
        _ = try await engine.start(Steps(), input: 100).result()
        let time = try await seconds {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<runs { group.addTask { _ = try await engine.start(Steps(), input: count).result() } }
                try await group.waitForAll()
            }
        }
        await engine.shutdown()
        try await server.drop(database)
        return Double(runs * count) / time
    }
}
