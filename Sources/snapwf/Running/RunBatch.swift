import ArgumentParser
import Files
import HelperInterface
import SnapshotSteps
import Threads
import Workflow

/// How runs of one command are driven.
struct RunningOptions: ParsableArguments {
    @Option(help: "How to tell progress on standard error.")
    var progress: ProgressMode = .auto

    @Option(help: "How many are worked on at once.")
    var jobs = 2

    @Option(help: "What becomes of the sandbox when the run is interrupted: keep (the run can go on) or kill.")
    var onInterrupt: Interruption.Policy = .keep

    @Flag(help: "Go on in the background: print the run's id and return.")
    var detach = false

    func validate() throws {
        guard (1...64).contains(jobs) else { throw ValidationError("--jobs must be from 1 to 64.") }
    }
}

extension Interruption.Policy: ExpressibleByArgument {}

/// One command's runs: one as if there were no others, several side by side, each told with its name.
@MainActor
struct RunBatch {
    /// One run to be started or gone on with.
    struct Item {
        /// How its lines are marked where there are several.
        let title: String
        let work: @MainActor (RunDriver) async throws -> RunDriver.Outcome
    }

    let session: Session
    let reporter: RunReporter
    let options: RunningOptions
    var timeout: Duration?

    /// Does all of them; one that fails does not keep the others from going on.
    ///
    /// - Throws: what went wrong with the only one, or the exit code of the first that did not end well.
    func run(_ items: [Item]) async throws {
        let announcer = DetachedAnnouncer(expecting: min(items.count, options.jobs))
        let interruption = await Interruption(policy: options.onInterrupt, engine: session.engine) { [reporter] in
            reporter.note($0)
        }
        defer { interruption.end() }
        let drivers = items.enumerated().map { index, item in
            RunDriver(
                session: session,
                reporter: items.count == 1
                    ? reporter : reporter.telling(of: .init(index: index, title: item.title)),
                interruption: interruption, policy: options.onInterrupt, timeout: timeout,
                onRecorded: { announcer?.settle(index, $0) })
        }
        do {
            if let item = items.first, let driver = drivers.first, items.count == 1 {
                let outcome = try await item.work(driver)
                // A sandbox that was lost on the way is nobody's any more, and may be large.
                await session.sweep()
                try reporter.succeed(outcome.result, run: outcome.run.description)
            } else {
                try await runAll(Array(zip(items, drivers)), interruption) { announcer?.settle($0, nil) }
            }
        } catch {
            await session.close()
            throw error
        }
        await session.close()
    }

    /// Side by side; what became of each is told in the order of the command line.
    private func runAll(
        _ pairs: [(item: Item, driver: RunDriver)], _ interruption: Interruption,
        onEnd: @escaping @MainActor (Int) -> Void
    ) async throws {
        let turns = Turns(atOnce: options.jobs, line: .max)
        let tasks = pairs.enumerated().map { index, pair in
            Task { @MainActor in
                defer {
                    pair.driver.reporter.end()
                    onEnd(index)
                }
                return try await turns.run {
                    if interruption.isInterrupted { throw RunInterrupted(runs: []) }
                    return try await pair.item.work(pair.driver)
                }
            }
        }
        var first: (any Error)?
        var interrupted: [RunID] = []
        for (task, pair) in zip(tasks, pairs) {
            switch await task.result {
            case .success(let outcome):
                try pair.driver.reporter.succeed(outcome.result, run: outcome.run.description)
            case .failure(let error):
                first = first ?? error
                if let error = error as? RunInterrupted {
                    interrupted += error.runs
                } else if !(error is Exit) {
                    pair.driver.reporter.fail(ErrorReport(error))
                }
            }
        }
        await session.sweep()
        if !interrupted.isEmpty { reporter.fail(ErrorReport(RunInterrupted(runs: interrupted))) }
        if let first { throw (first as? Exit) ?? Exit(ErrorReport(first).status) }
    }
}
