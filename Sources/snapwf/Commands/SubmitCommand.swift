import ArgumentParser
import Files
import FoundationEssentials
import HelperInterface
import SnapshotSteps
import Workflow

struct SubmitCommand: AsyncParsableCommand, RequestOptions {
    static let configuration = CommandConfiguration(
        commandName: "submit",
        abstract: "Leaves images to workers: records runs in a queue and returns.",
        discussion: """
            snapwf worker executes them, here or, where the store is shared, on any machine. The same request again is the \
            same run as long as that has not ended, whoever asks. Credentials do not travel: workers use their own. \
            --quiet prints the ids of the runs, and with --wait those of the snapshots.

            --batch FILE names an image a line, as a reference or as JSON with flags of its own; # begins a comment. All of \
            them are taken, or none, and they are one run with a run for each image.

              app:1
              {"image": "app:2", "size": "10GiB", "name": "app", "label": {"team": "a"}}

            Examples:
              snapwf submit ghcr.io/acme/app:1.2
              snapwf submit --wait --priority 10 --label team=a app:1 app:2
              snapwf submit --batch images.txt --not-before 2h
            """)

    @Argument(help: "The images, as for snapwf run.")
    var image: [String] = []

    @Option(help: "Take the images from this file, a line each; - for standard input.", completion: .file())
    var batch: String?

    @Option(
        help: """
            The queue: 1 to 200 bytes. Default: that of the provider, which is local, vm, depot, or api: with the address \
            of --api.
            """)
    var queue: QueueName?

    @Option(help: "Those with a higher one are taken first; from -1000000 to 1000000.")
    var priority = 0

    @Option(help: "Not before this time: 2026-12-24T18:00:00Z, or a span from now such as 2h.")
    var notBefore: Moment?

    @Option(
        name: .customLong("run-label"),
        help: """
            A label of the run alone, as NAME=VALUE, which makes no other request of it. Workers may be fair between the \
            values of a label; those of --label count there, too. May be repeated.
            """)
    var runLabels: [LabelArgument] = []

    @Flag(help: "Wait until the images are made, and print what snapwf run prints.")
    var wait = false

    @OptionGroup(title: "The snapshot") var snapshot: SnapshotOptions

    @OptionGroup(title: "Keeping it") var keeping: KeepingOptions

    @OptionGroup(title: "The registry") var access: ImageAccessOptions

    @OptionGroup(title: "Where sandboxes come from") var places: PlaceOptions

    @OptionGroup(title: "The sandbox") var machine: MachineOptions

    @Flag(help: "Convert again, whatever runs or is in the catalog.")
    var force = false

    @Option(help: "Give up after so long, the time in the queue included: the run fails and its sandbox ends.")
    var timeout: Span?

    @Option(help: "How to tell progress on standard error, with --wait.")
    var progress: ProgressMode = .auto

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    /// Whether `--output` is a directory although this is one image: of a batch.
    var writesSeveral = false

    /// `writesSeveral` is no flag.
    enum CodingKeys: String, CodingKey {
        case image, batch, queue, priority, notBefore, runLabels, wait, snapshot, keeping, access, places, machine
        case force, timeout, progress, stored, options
    }

    func validate() throws {
        guard image.isEmpty != (batch == nil) else { throw ValidationError("Name images, or a file of them: --batch.") }
        if batch != nil || image.count > 1, keeping.name != nil || keeping.push != nil {
            throw ValidationError("--name and --push are for one image; in a batch they stand in its line.")
        }
        guard (-1_000_000...1_000_000).contains(priority) else {
            throw ValidationError("--priority must be from -1000000 to 1000000.")
        }
        guard timeout.map({ $0.seconds > 0 }) ?? true else { throw ValidationError("--timeout must be more than 0s.") }
        if places.token != nil {
            throw ValidationError("--token does not travel: give it to the workers, as DEPOT_TOKEN or SNAPWF_TOKEN.")
        }
    }

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: progress)
        try await reporter.reportingErrors {
            let variables = ProcessInfo.processInfo.environment
            let items = try await self.items(
                isShared: try stored.place(in: RecordedSnapshots.state()).configuration.isShared)
            let session = try await Session.open(options, stored)
            if session.environment.shared != nil, items.contains(where: { $0.request.staysHere }) {
                reporter.note(
                    "the store is shared, and no registry is named for the other machines (push = \"REGISTRY/REPOSITORY\"): "
                        + "what is made stays on the worker's machine, unless its own settings name one", always: false)
            }
            let submission = Submission(
                session: session, queue: try queue ?? QueueName(of: places.place(variables), variables),
                priority: priority, notBefore: notBefore?.date(from: Date()))
            do {
                try await submit(items, submission, reporter)
            } catch {
                await session.close()
                throw error
            }
            await session.close()
        }
    }

    @MainActor
    private func submit(
        _ items: [Submission.Item], _ submission: Submission, _ reporter: RunReporter
    ) async throws {
        let session = submission.session
        if batch != nil {
            let id = try await submission.submit(batch: items)
            let images = items.count == 1 ? "1 image" : "\(items.count) images"
            guard wait else {
                return try tell([.init(new: id, queue: BatchWorkflow.queue, image: "batch of \(images)")])
            }
            reporter.note("batch \(id): \(images) for queue \(submission.queue)", always: false)
            return try await BatchWatch(session: session, reporter: reporter, options: options).follow(id)
        }
        var submitted: [Submission.Submitted] = []
        do {
            for item in items { submitted.append(try await submission.submit(item)) }
        } catch {
            // Those before it are on disk, and workers take them.
            if !submitted.isEmpty { try told(submitted, submission.queue) }
            throw error
        }
        guard wait else { return try told(submitted, submission.queue) }
        var running = RunningOptions()
        running.progress = progress
        running.jobs = max(submitted.count, 1)
        running.onInterrupt = .keep
        running.detach = false
        var runs: [RunBatch.Item] = []
        for one in submitted {
            guard let record = try await session.engine.run(one.run) else { continue }
            runs.append(.init(title: one.request.image) { driver in try await driver.attach(to: record) })
        }
        try await RunBatch(session: session, reporter: reporter, options: running).run(runs)
    }

    private func told(_ submitted: [Submission.Submitted], _ queue: QueueName) throws {
        try tell(
            submitted.map { one in
                if let found = one.existing { return .init(found: found, image: one.request.image) }
                return .init(new: one.run, queue: queue.description, image: one.request.image)
            })
    }

    private func tell(_ runs: [SubmittedDocument.Run]) throws {
        if options.json { return try deliver(JSONText.document(SubmittedDocument(runs: runs))) }
        for run in runs {
            if options.quiet {
                try deliver(run.id + "\n")
            } else {
                let next = run.parked == true ? "; next: snapwf resume \(run.id)" : ""
                let words =
                    run.existing ? "asked for before, \(run.standing)\(next)" : "queued in \(run.queue ?? "-")"
                try deliver("\(run.id)  \(run.image.printable)  \(words)\n")
            }
        }
    }

    // MARK: - What is asked for

    /// - Parameter isShared: whether a worker may be on another machine.
    private func items(isShared: Bool) async throws -> [Submission.Item] {
        guard let batch else {
            return try requests().map { try item($0.request, $0.label, isShared: isShared) }
        }
        let file = try await BatchFile.read(batch)
        var items: [Submission.Item] = []
        var claims = BatchClaims()
        for line in file.lines {
            do {
                let command = try taking(line.entry)
                for (request, label) in try command.requests() where !items.contains(where: { $0.label == label }) {
                    try claims.take(request, line: line.number)
                    items.append(try command.item(request, label, isShared: isShared))
                }
            } catch let error as SnapshotError {
                throw BatchFile.refusal(line.number, file.name, error.message)
            } catch let error as ValidationError {
                throw BatchFile.refusal(line.number, file.name, error.message)
            }
        }
        return items
    }

    private func item(_ request: SnapshotRequest, _ label: String, isShared: Bool) throws -> Submission.Item {
        try Preflight.requireTarget(request)
        if isShared, let bond = try request.bond() {
            throw SnapshotError(.usage, "the store is shared by machines, and \(bond)")
        }
        let labels = try LabelArgument.dictionary(runLabels)
        if let own = Submission.ownLabels.first(where: { labels[$0] != nil }) {
            throw SnapshotError(
                .usage, "--run-label \(own): runs have a label of that name by themselves; choose another")
        }
        return Submission.Item(
            request: request, label: label, labels: (request.labels ?? [:]).merging(labels) { $1 },
            timeout: timeout?.seconds)
    }

    /// This command for one image of a batch.
    private func taking(_ entry: BatchEntry) throws -> SubmitCommand {
        var one = self
        one.image = [entry.image]
        // What stands on the command line is a directory for all of them.
        one.writesSeveral = entry.output == nil
        one.snapshot.size = entry.size ?? snapshot.size
        one.snapshot.verity = entry.verity ?? snapshot.verity
        one.snapshot.platform = entry.platform ?? snapshot.platform
        one.snapshot.verifyBoot = entry.verifyBoot ?? snapshot.verifyBoot
        one.snapshot.output = entry.output ?? snapshot.output
        one.keeping.name = entry.name
        one.keeping.push = entry.push
        for (name, value) in (entry.label ?? [:]).sorted(by: { $0.key < $1.key }) {
            guard let label = LabelArgument(argument: "\(name)=\(value)") else {
                throw SnapshotError(.usage, "\"label\" has a name that is empty")
            }
            one.keeping.labels.append(label)
        }
        if let text = entry.register {
            guard let target = RegisterTarget(rawValue: text) else {
                let known = RegisterTarget.allCases.map(\.rawValue).joined(separator: ", ")
                throw SnapshotError(.usage, "\"register\" must be one of \(known)")
            }
            one.keeping.register = target
        }
        one.machine.vcpus = entry.vcpus ?? machine.vcpus
        one.machine.memory = entry.memory ?? machine.memory
        one.machine.disk = entry.disk ?? machine.disk
        one.machine.builderImage = entry.builderImage ?? machine.builderImage
        if let ttl = entry.ttl { one.machine.ttl = try Self.span(ttl, "ttl") }
        if let timeout = entry.timeout { one.timeout = try Self.span(timeout, "timeout") }
        one.force = entry.force ?? force
        try one.machine.validate()
        guard one.timeout.map({ $0.seconds > 0 }) ?? true else {
            throw SnapshotError(.usage, "\"timeout\" must be more than 0s")
        }
        return one
    }

    private static func span(_ text: String, _ name: String) throws -> Span {
        guard let span = Span(argument: text) else {
            throw SnapshotError(.usage, "\"\(name)\" must be a span of time, as 90s, 15m, 2h or 7d")
        }
        return span
    }
}

/// A time on a command line: one of the calendar, or a span from now.
enum Moment: ExpressibleByArgument {
    case at(Date)
    case after(Span)

    init?(argument: String) {
        if let span = Span(argument: argument) {
            self = .after(span)
        } else if let date = try? Date(argument, strategy: .iso8601),
            (0...253_402_300_799).contains(date.timeIntervalSince1970)
        {
            self = .at(date)
        } else {
            return nil
        }
    }

    func date(from now: Date) -> Date {
        switch self {
        case .at(let date): date
        case .after(let span): now.addingTimeInterval(Double(span.seconds))
        }
    }
}
