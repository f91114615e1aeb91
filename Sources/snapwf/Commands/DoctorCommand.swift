import ArgumentParser
import Files
import FoundationEssentials
import HelperInterface
import Logging
import OCI
import SnapshotSteps
import Workflow

struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Checks what a run needs, and says how to mend what is missing.",
        discussion: """
            With an image it asks the image's registry, with --sandbox depot or --api that API (also where DEPOT_TOKEN is \
            set), with --boot it starts a virtual machine. It changes nothing, and works while runs are at work. \
            Exits 1 when something FAILs.
            """)

    @Argument(help: "An image that a run shall be able to read; nothing of it is downloaded but its manifest.")
    var image: String?

    @Flag(help: "Boot a virtual machine with KVM.")
    var boot = false

    @OptionGroup var access: RegistryAccess

    @OptionGroup var places: PlaceOptions

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    /// What is not known after that is said to be unknown.
    private static let patience = Duration.seconds(10)

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let checks = try checks(ProcessInfo.processInfo.environment)
            let report = DoctorReport(await Self.findings(checks))
            try deliver(options.json ? JSONText.document(report) : report.text(quiet: options.quiet))
            if !report.healthy { throw Exit(.failed) }
        }
    }

    /// In the order of the report.
    private func checks(_ variables: [String: String]) throws -> [Check] {
        let home = try Places.stateDirectory(variables)
        let state = StateDirectory(reading: home)
        let executable = try Places.executable()
        let helper = Places.helper(variables, executable: executable)
        let place = try places.place(variables)
        let machines = MachineChecks(
            kernel: nonEmpty(variables["SNAPWF_KERNEL"]).map(Places.absolutePath),
            qemu: nonEmpty(variables["SNAPWF_QEMU"]).map(Places.absolutePath),
            agent: Places.agent(variables, executable: executable), isWanted: boot || place == .vm)
        let runs = try stored.place(in: state)
        let runsCheck =
            runs.configuration.isShared
            ? Check("runs store") { await SharedStoreChecks.run(runs) }
            : Check("runs database") { await DatabaseChecks.runsDatabase(runs) }
        var checks = [
            Check("kernel") { await onOwnThread { SystemChecks.run() } },
            Check("configuration") { await onOwnThread { [ConfigurationCheck.run(variables)] } },
            Check("state directory") { await onOwnThread { StateChecks.run(home) } },
            runsCheck,
            Check("catalog") { await DatabaseChecks.catalogDatabase(state) },
            Check("snapshots") { await DatabaseChecks.store(state) },
            Check("SQLite") {
                [DatabaseChecks.sqlite(version: SQLiteLibrary.version, hasWALResetBug: SQLiteLibrary.hasWALResetBug)]
            },
            Check("bubblewrap") { await SandboxChecks.bubblewrap() },
            Check("helper") { [await SandboxChecks.helper(helper)] },
            Check("KVM") { await onOwnThread { [SandboxChecks.kvm()] + machines.run() } },
        ]
        if boot { checks.append(Check("boot", patience: .seconds(40)) { try await machines.boot() }) }
        if let check = apiCheck(place, variables) { checks.append(check) }
        if let check = try imageCheck() { checks.append(check) }
        return checks
    }

    private func imageCheck() throws -> Check? {
        guard let image else { return nil }
        let reference: ImageReference
        do {
            reference = try ImageReference(parsing: image)
        } catch {
            throw SnapshotError(.usage, error.message)
        }
        // What fails is in the finding; a second try is for a connection that broke.
        let logger = Logger(label: "snapwf", factory: { _ in SwiftLogNoOpLogHandler() })
        let sources = access.sources(attempts: 2, logger: logger)
        return Check("image") { await RemoteChecks.registry(reference, through: sources) }
    }

    /// The API that a flag names; without one Depot's, where there is a token for it.
    private func apiCheck(_ place: SandboxPlace, _ variables: [String: String]) -> Check? {
        var named = place
        var again = places.api.map { "snapwf doctor --api \($0)" } ?? "snapwf doctor --sandbox depot"
        if case .local = place, nonEmpty(variables["DEPOT_TOKEN"]) != nil, places.sandbox == nil {
            var depot = places
            depot.sandbox = .depot
            again = "snapwf doctor"
            guard let other = try? depot.place(variables) else {
                return Check("Sandbox API") {
                    [.warn("Sandbox API", "DEPOT_API_URL is no address", next: "unset DEPOT_API_URL")]
                }
            }
            named = other
        }
        guard case .api(let url, let organization) = named else { return nil }
        let (token, isNamed, next) = (places.token, named == place, again)
        return Check("Sandbox API") {
            await RemoteChecks.api(
                url: url, organization: organization, token: token, isNamed: isNamed, again: next, variables: variables)
        }
    }

    /// One thing to look at.
    struct Check: Sendable {
        let name: String
        let patience: Duration
        let look: @Sendable () async throws -> [Finding]

        init(
            _ name: String, patience: Duration = DoctorCommand.patience,
            _ look: @escaping @Sendable () async throws -> [Finding]
        ) {
            self.name = name
            self.patience = patience
            self.look = look
        }

        func findings() async -> [Finding] {
            do {
                let found = try await within(patience, look)
                return found ?? [.warn(name, "no answer within \(spanText(patience))", next: "snapwf doctor")]
            } catch {
                return [.fail(name, "\(error)", next: "snapwf doctor")]
            }
        }
    }

    /// All at the same time: one that waits keeps nobody waiting.
    static func findings(_ checks: [Check]) async -> [Finding] {
        await withTaskGroup(of: (Int, [Finding]).self) { group in
            for (number, check) in checks.enumerated() { group.addTask { (number, await check.findings()) } }
            var found = [[Finding]](repeating: [], count: checks.count)
            for await (number, findings) in group { found[number] = findings }
            return found.flatMap { $0 }
        }
    }
}
