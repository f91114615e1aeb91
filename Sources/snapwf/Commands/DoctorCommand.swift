import ArgumentParser
import Files
import FoundationEssentials
import HelperInterface
import SnapshotSteps
import Workflow

struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Checks what a run needs, and says how to mend what is missing.",
        discussion: "It changes and makes nothing, and works while runs are at work. Exits 1 when something FAILs.")

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let variables = ProcessInfo.processInfo.environment
            let home = try Places.stateDirectory(variables)
            let helper = Places.helper(variables, executable: try Places.executable())
            let report = DoctorReport(await Self.findings(home: home, helper: helper))
            try deliver(options.json ? JSONText.document(report) : report.text(quiet: options.quiet))
            if !report.healthy { throw Exit(.failed) }
        }
    }

    private static func findings(home: String, helper: String) async -> [Finding] {
        let state = StateDirectory(reading: home)
        var findings = await onOwnThread { StateChecks.run(home) }
        findings.append(await onOwnThread { ConfigurationCheck.run(ProcessInfo.processInfo.environment) })
        findings += await DatabaseChecks.runsDatabase(state)
        findings += await DatabaseChecks.catalogDatabase(state)
        findings += await DatabaseChecks.store(state)
        findings.append(
            DatabaseChecks.sqlite(version: SQLiteLibrary.version, hasWALResetBug: SQLiteLibrary.hasWALResetBug))
        findings += await SandboxChecks.bubblewrap()
        findings.append(await SandboxChecks.helper(helper))
        findings.append(SandboxChecks.kvm())
        return findings
    }
}
