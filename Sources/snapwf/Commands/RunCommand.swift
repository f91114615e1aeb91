import ArgumentParser
import Files
import FoundationEssentials
import SnapshotSteps
import Workflow

struct RunCommand: AsyncParsableCommand, RequestOptions {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Turns images into snapshots.",
        discussion: """
            The same run again answers from the catalog; while one runs it waits for that one; after an interruption it \
            goes on with it. Several images are several runs: one that fails does not stop the others, results stand in \
            the order of the images, and the exit code is that of the first that did not end well.

            Ctrl-C stops where the run can go on (snapwf resume), and exits with 75; once more ends at once.

            Examples:
              snapwf run alpine
              snapwf run -q -o root.ext4 --size 10GiB ghcr.io/acme/app:1.2
              snapwf run --jobs 4 app:1 app:2 app:3
              id=$(snapwf run -q --detach app:1) && snapwf logs --follow $id
            """)

    @Argument(
        help: """
            The images: references such as ghcr.io/acme/app:1.2, oci:DIRECTORY[:TAG], oci-archive:FILE[:TAG] or \
            docker-archive:FILE[:NAME:TAG].
            """)
    var image: [String]

    @OptionGroup(title: "The snapshot") var snapshot: SnapshotOptions

    @OptionGroup(title: "Keeping it") var keeping: KeepingOptions

    @OptionGroup(title: "The registry") var access: ImageAccessOptions

    @OptionGroup(title: "Where sandboxes come from") var places: PlaceOptions

    @OptionGroup(title: "The sandbox") var machine: MachineOptions

    @Flag(help: "Convert again, whatever runs or is in the catalog.")
    var force = false

    @Option(help: "Give up after so long: the run fails and its sandbox ends.")
    var timeout: Span?

    @OptionGroup var running: RunningOptions

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard !image.isEmpty else { throw ValidationError("Name an image.") }
        if image.count > 1, keeping.name != nil || keeping.push != nil {
            throw ValidationError("--name and --push are for one image.")
        }
        guard timeout.map({ $0.seconds > 0 }) ?? true else { throw ValidationError("--timeout must be more than 0s.") }
    }

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: running.progress)
        try await reporter.reportingErrors {
            let requests = try self.requests()
            if running.detach { return try detach(reporter) }
            let session = try await Session.open(options, stored)
            if let place = requests.first?.request.place { session.name(place, token: places.token) }
            if let shared = session.environment.shared, requests.contains(where: { $0.request.staysHere }) {
                reporter.note(
                    "the store is shared, and no registry is named for the other machines (push = \"REGISTRY/REPOSITORY\"): "
                        + "what is made stays on this machine, \(shared.host)", always: false)
            }
            var batch = RunBatch(session: session, reporter: reporter, options: running)
            batch.timeout = timeout.map { .seconds($0.seconds) }
            try await batch.run(
                requests.map { request, label in
                    .init(title: request.image) { driver in try await driver.run(request, label: label) }
                })
        }
    }

    private func detach(_ reporter: RunReporter) throws {
        let state = try StateDirectory(opening: try Places.stateDirectory(ProcessInfo.processInfo.environment))
        let (runs, log) = try Detachment.start(in: state, try stored.place(in: state))
        try Detachment.tell(runs, log: log, options)
        reporter.note(
            "goes on in the background; follow it: snapwf logs --follow \(runs[0]); its output: \(log)", always: false)
    }
}

extension SnapshotRequest {
    /// Whether no other machine can have what is made.
    var staysHere: Bool { push == nil && sharesTo == nil && register != .api }
}
