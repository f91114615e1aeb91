import Foundation
import Glibc
import Workflow

/// What a program waits for when it starts on a store with many finished runs, beside the same on a store with few.
struct StartUpBenchmark {
    /// As many as a listing shows, so that both stores list the same number of rows.
    private static let few = 20

    private let options: Options
    private let disk: BenchmarkDirectory

    init(_ options: Options, _ disk: BenchmarkDirectory) {
        self.options = options
        self.disk = disk
    }

    private struct Samples {
        var open: [Double] = []
        var plan: [Double] = []
        var claim: [Double] = []
        var resume: [Double] = []
        var list: [Double] = []
        var interrupted: [Double] = []
        var find: [Double] = []
        var memory: [Double] = []
    }

    func figures() async throws -> [Figure] {
        let small = disk.database()
        let large = disk.database()
        try await fill(small, Self.few)
        try await fill(large, options.finishedRuns)
        var few = Samples()
        var many = Samples()
        for _ in 0..<options.rounds {
            try await round(small, &few)
            try await round(large, &many)
        }
        few.memory.append(try await Self.memoryOfChild(small))
        many.memory.append(try await Self.memoryOfChild(large))
        func figure(_ name: String, _ samples: KeyPath<Samples, [Double]>, unit: String = "ms") -> Figure {
            Figure(
                "\(name), \(options.finishedRuns) finished runs", unit: unit, better: .less,
                samples: many[keyPath: samples], peer: "the same with \(Self.few)", peerSamples: few[keyPath: samples])
        }
        return [
            figure("open the store", \.open), figure("plan a resume", \.plan),
            figure("claim: until resume() returns", \.claim),
            figure("resume: until the run is over", \.resume), figure("ls: the newest 20", \.list),
            figure("ls: the interrupted ones", \.interrupted), figure("find by a prefix", \.find),
            figure("peak memory of a process that opens, resumes and lists", \.memory, unit: "MiB"),
        ]
    }

    /// Opens the store, takes a run up and lists: what a short-lived program does.
    ///
    /// - Returns: the most memory that this process has ever used, in KiB.
    static func peakMemory(opening path: String) async throws -> Int {
        let engine = try await openEngine(path)
        _ = try await engine.start(Steps(), input: 20).result()
        _ = try await engine.runs(RunQuery(limit: 20))
        await engine.shutdown()
        var usage = rusage()
        getrusage(RUSAGE_SELF.rawValue, &usage)
        return usage.ru_maxrss
    }

    /// The same in a process of its own, in MiB: this one has filled the store before.
    private static func memoryOfChild(_ path: String) async throws -> Double {
        let output = try await onThread {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0])
            process.arguments = ["--memory-probe", path]
            let pipe = Pipe()
            process.standardOutput = pipe
            try process.run()
            let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
            process.waitUntilExit()
            return String(decoding: output, as: UTF8.self)
        }
        guard let kibibytes = Double(output.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw Usage(message: "the memory probe answered '\(output)'")
        }
        return kibibytes / 1024
    }

    /// Real runs of one step, many at once.
    private func fill(_ path: String, _ count: Int) async throws {
        let engine = try await openEngine(path)
        let width = 256
        try await withThrowingTaskGroup(of: Void.self) { group in
            for index in 0..<count {
                if index >= width { try await group.next() }
                group.addTask { _ = try await engine.start(Steps(), input: 1).result() }
            }
            try await group.waitForAll()
        }
        await engine.shutdown()
    }

    /// Leaves an interrupted run behind, and comes back for it with a new engine.
    private func round(_ path: String, _ samples: inout Samples) async throws {
        let first = try await openEngine(path)
        let started = try await first.start(Stuck(), input: 20)
        while try await first.steps(of: started.id).last?.name != "wait" {
            try await Task.sleep(for: .milliseconds(2))
        }
        await first.shutdown()

        var engine: Engine?
        samples.open.append(try await seconds { engine = try await openEngine(path) } * 1000)
        guard let engine else { return }
        samples.plan.append(try await seconds { _ = try await engine.plan(started.id) } * 1000)
        var handle: RunHandle<Int>?
        let claim = try await seconds { handle = try await engine.resume(started.id, as: Stuck()) }
        let rest = try await seconds { _ = try await handle?.result() }
        samples.claim.append(claim * 1000)
        samples.resume.append((claim + rest) * 1000)
        samples.list.append(try await seconds { _ = try await engine.runs(RunQuery(limit: 20)) } * 1000)
        samples.interrupted.append(
            try await seconds { _ = try await engine.runs(RunQuery(statuses: [.interrupted], limit: 20)) } * 1000)
        let prefix = String(started.id.description.prefix(14))
        samples.find.append(try await seconds { _ = try await engine.find(prefix: prefix) } * 1000)
        await engine.shutdown()
    }
}
