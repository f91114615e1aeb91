import Foundation
import Glibc
import Logging
import Workflow

/// A day of snapshots through the real engine and its real queue, on a clock that stands still while they work.
@main
struct Main {
    private struct Usage: Error {}

    private struct Options {
        var count = 10_000
        var workers = 20
        var seed: UInt64 = 20_261_128
        var creationsPerMinute = 60
        var directory = NSTemporaryDirectory()

        init(_ arguments: [String]) throws {
            var rest = arguments[...]
            while let flag = rest.popFirst() {
                guard let value = rest.popFirst() else { throw Usage() }
                switch (flag, Int(value)) {
                case ("--directory", _): directory = value
                case ("--snapshots", .some(let number)) where (1...1_000_000).contains(number): count = number
                case ("--workers", .some(let number)) where (1...1000).contains(number): workers = number
                case ("--seed", .some(let number)) where number >= 0: seed = UInt64(number)
                case ("--creations-per-minute", .some(let number)) where number > 0: creationsPerMinute = number
                default: throw Usage()
                }
            }
        }
    }

    /// What is printed, as JSON: one array a job, in the order of arrival.
    private struct Answer: Encodable {
        let seed: UInt64
        let workers: Int
        let creationsPerMinute: Int
        /// How long it took, in seconds.
        let wall: Double
        /// How often the clock was moved on although not all that should sleep did: the day is then not to be trusted.
        let impatient: Int
        /// Arrival, begun, ended, megabytes, seconds of a sandbox, calls, creations refused.
        let jobs: [[Double]]
    }

    static func main() async {
        do {
            try await run(try Options(Array(CommandLine.arguments.dropFirst())))
        } catch is Usage {
            let text =
                "usage: simulated-day [--snapshots N] [--workers N] [--seed N] [--creations-per-minute N] [--directory DIR]\n"
            FileHandle.standardError.write(Data(text.utf8))
            exit(64)
        } catch {
            FileHandle.standardError.write(Data("simulated-day: \(error)\n".utf8))
            exit(1)
        }
    }

    private static func run(_ options: Options) async throws {
        let directory = "\(options.directory)/simulated-day-\(UUID().uuidString.lowercased())"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let answer: Result<Answer, any Error>
        do {
            answer = .success(try await live(options, directory))
        } catch {
            answer = .failure(error)
        }
        try FileManager.default.removeItem(atPath: directory)
        FileHandle.standardOutput.write(try JSONEncoder().encode(try answer.get()))
    }

    private static func live(_ options: Options, _ directory: String) async throws -> Answer {
        let day = Day(count: options.count, seed: options.seed)
        let midnight = Date(timeIntervalSince1970: 1_800_000_000)
        let clock = SimulatedClock(midnight)
        let provider = SimulatedProvider(day, clock: clock, creationsPerMinute: options.creationsPerMinute)
        var logger = Logger(label: "simulated-day")
        logger.logLevel = .error
        // The middle of every wait before a retry, so that a seed is a day.
        let configuration = EngineConfiguration(logger: logger, clock: clock, random: { UInt64.max / 2 })
        let engine = try await Engine(store: .sqlite(path: directory + "/store.sqlite"), configuration: configuration)
        let workflow = SimulatedSnapshot(provider: provider)
        try engine.register(workflow)
        var workers: [Worker] = []
        for _ in 0..<options.workers {
            workers.append(try await engine.work(on: [QueueConfiguration("day", concurrency: 1)]))
        }
        let began = ContinuousClock.now
        var impatient = 0
        var enqueued = 0
        while true {
            if try await !settle(clock, enqueued, workers) { impatient += 1 }
            let arrival =
                enqueued < day.jobs.count ? midnight.addingTimeInterval(day.jobs[enqueued].arrival) : nil
            guard let next = [arrival, clock.nextEnd].compactMap({ $0 }).min() else { break }
            clock.advance(to: next)
            while enqueued < day.jobs.count, midnight.addingTimeInterval(day.jobs[enqueued].arrival) <= next {
                _ = try await engine.enqueue(workflow, input: enqueued, queue: "day")
                enqueued += 1
            }
        }
        let wall = began.duration(to: .now)
        await engine.shutdown()
        let jobs = zip(day.jobs, provider.records).map { job, record in
            [
                job.arrival, record.begun, record.ended, job.megabytes, record.sandbox, Double(record.calls),
                Double(record.refused),
            ]
        }
        return Answer(
            seed: options.seed, workers: options.workers, creationsPerMinute: options.creationsPerMinute,
            wall: Double(wall.components.seconds) + Double(wall.components.attoseconds) / 1e18,
            impatient: impatient, jobs: jobs)
    }

    /// Waits until every run that can work sleeps on the simulated clock: each sleeps once, and each worker has one.
    ///
    /// - Returns: whether that came.
    private static func settle(_ clock: SimulatedClock, _ enqueued: Int, _ workers: [Worker]) async throws -> Bool {
        let deadline = ContinuousClock.now + .seconds(10)
        var looks = 0
        while true {
            let unfinished = enqueued - workers.reduce(0) { $0 + $1.executed }
            if clock.sleeping == min(unfinished, workers.count) { return true }
            guard ContinuousClock.now < deadline else { return false }
            looks += 1
            if looks < 200 { await Task.yield() } else { try await Task.sleep(for: .microseconds(200)) }
        }
    }
}
