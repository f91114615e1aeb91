import Workflow

/// What a waiting engine costs, beside a program that only waits.
struct IdleBenchmark {
    private let options: Options
    private let disk: BenchmarkDirectory

    init(_ options: Options, _ disk: BenchmarkDirectory) {
        self.options = options
        self.disk = disk
    }

    func figures() async throws -> [Figure] {
        let nothing = try await load()
        let engine = try await openEngine(disk.database())
        let open = try await load()
        _ = try await engine.start(Nap(), input: 3600)
        let one = try await load()
        for _ in 1..<options.runs { _ = try await engine.start(Nap(), input: 3600) }
        let many = try await load()
        await engine.shutdown()
        func figure(_ name: String, _ value: Double) -> Figure {
            Figure(
                name, unit: "% of a processor", better: .less, samples: [value], peer: "a program that only sleeps",
                peerSamples: [nothing])
        }
        return [
            figure("waiting: an engine without runs", open), figure("waiting: one sleeping run", one),
            figure("waiting: \(options.runs) sleeping runs", many),
        ]
    }

    /// Processor time per time, in percent.
    private func load() async throws -> Double {
        // What was begun before is over by then.
        try await Task.sleep(for: .milliseconds(500))
        let before = processorSeconds()
        let time = try await seconds { try await Task.sleep(for: .seconds(options.idleSeconds)) }
        return (processorSeconds() - before) / time * 100
    }
}
