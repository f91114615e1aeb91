import ArgumentParser
import CoreMetrics
import Files
import FoundationEssentials
import Glibc
import HelperInterface
import Sandbox
import SnapshotSteps
import UnixSignals
import Workflow

struct WorkerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "worker",
        abstract: "Executes the runs of queues, which snapwf submit records.",
        discussion: """
            As many workers as you like, on as many machines as share a store. One that dies loses nothing: another goes on \
            with its runs. Each provider has a queue of its own, so that one that wants to be left alone (429) slows no other. \
            Limits over all workers are those that somebody said last: a worker without such an option keeps \
            them, --no-limits removes them. Batches are taken by every worker.

            SIGTERM or Ctrl-C: it takes no more runs, lets those at work end for --drain-within, hands the others over, and \
            exits with 0. A second one ends it at once with 75; nothing is lost then, either.

            With --listen it answers /healthz (it lives), /readyz (it takes runs; else 503) and /metrics (Prometheus).

            Examples:
              snapwf worker
              snapwf worker --sandbox depot --concurrency 20 --rate 60/1m --listen 127.0.0.1:9464
              snapwf worker --queue local --queue urgent --until-idle
            """)

    @Option(
        name: .customLong("queue"),
        help: "A queue to take runs from; may be repeated. Default: that of --sandbox or --api, which is local.")
    var queues: [QueueName] = []

    @Option(help: "How many runs of each queue this worker works on at once, from 1 to 1000.")
    var concurrency = 2

    @Option(help: "How many runs of each queue all workers work on at once.")
    var totalConcurrency: Int?

    @Option(help: ArgumentHelp("How many runs of each queue begin in a span, over all workers.", valueName: "n/span"))
    var rate: QueueRate?

    @Option(help: ArgumentHelp("Runs of the same priority take turns by the values of this label.", valueName: "label"))
    var fairness: String?

    @Flag(
        help: """
            Remove what was said before with --total-concurrency, --rate and --fairness; the ones of this worker hold.
            """)
    var noLimits = false

    @Option(help: "When it is told to stop: how long runs at work may go on.")
    var drainWithin = Span(seconds: 30)

    @Option(
        help: "Where to answer questions about health and metrics: HOST:PORT, or unix:PATH. Whoever reaches it may ask."
    )
    var listen: String?

    @Flag(help: "End when there is nothing to do.")
    var untilIdle = false

    @OptionGroup(title: "Where sandboxes come from") var places: PlaceOptions

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard (1...1000).contains(concurrency) else { throw ValidationError("--concurrency must be from 1 to 1000.") }
        guard totalConcurrency.map({ (1...1_000_000).contains($0) }) ?? true else {
            throw ValidationError("--total-concurrency must be from 1 to 1000000.")
        }
        guard fairness.map({ (1...200).contains($0.utf8.count) }) ?? true else {
            throw ValidationError("--fairness names a label of 1 to 200 bytes.")
        }
        guard queues.count <= 50 else { throw ValidationError("--queue may be said 50 times at most.") }
    }

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let variables = ProcessInfo.processInfo.environment
            let place = try places.place(variables)
            // One that is wrong is not to be found out by each run.
            _ = try SharingPlace.setting()
            let address = try listen.map { try ListenAddress.parse($0, example: 9464) }
            let registry = address.map { _ in MetricsRegistry(help: WorkerMetrics.help) }
            // Before the engine is opened, which asks once where metrics go.
            if let registry { MetricsSystem.bootstrap(registry) }
            let desk = WorkerDesk(options: options, variables: variables)
            let session = try await Session.open(options, stored, watch: desk.watch)
            session.name(place, token: places.token)
            var pages: WorkerPages?
            do {
                try await check(place, session)
                // From here on a signal is an order, and no end.
                let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint, .sighup)
                if let address, let registry {
                    pages = try await WorkerPages.open(at: address, desk, registry, session.logger)
                }
                try await work(session, desk, place, signals, pages?.address)
                await pages?.close()
                await desk.end()
            } catch {
                await pages?.close()
                await session.close()
                throw error
            }
            await session.close()
        }
    }

    /// Who cannot make a sandbox must not take runs from those who can.
    private func check(_ place: SandboxPlace, _ session: Session) async throws {
        if place == .local { return try await session.provider.check() }
        try await Preflight.reach(place, in: session.environment)
    }

    private var keepsLimits: Bool { !noLimits && totalConcurrency == nil && rate == nil && fairness == nil }

    /// Returns when everything at work has ended or is handed over.
    private func work(
        _ session: Session, _ desk: WorkerDesk, _ place: SandboxPlace, _ signals: UnixSignalsSequence,
        _ address: String?
    ) async throws {
        let names = names(place)
        let limited = names.map { name in
            QueueConfiguration(
                name, concurrency: concurrency, totalConcurrency: totalConcurrency, rate: rate?.rate,
                fairness: fairness, keepsLimits: keepsLimits)
        }
        let batches = QueueConfiguration(BatchWorkflow.queue, concurrency: Self.batchesAtOnce, keepsLimits: true)
        let worker = try await session.engine.work(
            on: limited + [batches], observing: { desk.take($0) }, session.workflow(), BatchWorkflow())
        desk.begin(worker, names + [BatchWorkflow.queue], at: address)
        let pulse = WorkerPulse(
            session: session, worker: worker, desk: desk, queues: names + [BatchWorkflow.queue],
            isMeasured: address != nil, endsWhenIdle: untilIdle)
        let (ends, ending) = AsyncStream.makeStream(of: Result<Void, any Error>.self)
        let beating = Task {
            do {
                ending.yield(.success(try await pulse.beat()))
            } catch {
                ending.yield(.failure(error))
            }
        }
        let listening = Task {
            var iterator = signals.makeAsyncIterator()
            guard await iterator.next() != nil else { return }
            ending.yield(.success(()))
            // A second one does not wait for runs that do not end.
            if await iterator.next() != nil { _exit(ExitStatus.interrupted.rawValue) }
        }
        var end = Result<Void, any Error>.success(())
        for await first in ends {
            end = first
            break
        }
        desk.drain(within: .seconds(drainWithin.seconds))
        // What is measured stays true as long as runs are at work.
        await worker.drain(within: .seconds(drainWithin.seconds))
        beating.cancel()
        listening.cancel()
        try end.get()
    }

    private func names(_ place: SandboxPlace) -> [String] {
        guard !queues.isEmpty else { return [QueueName(of: place, ProcessInfo.processInfo.environment).description] }
        var names: [String] = []
        for queue in queues where !names.contains(queue.description) { names.append(queue.description) }
        return names
    }

    /// A batch has a place only while it starts its images or learns how one ended.
    private static let batchesAtOnce = 16
}
