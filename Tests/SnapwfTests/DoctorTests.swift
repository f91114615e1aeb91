import Foundation
import HelperInterface
import OCI
import Sandbox
import SnapshotSteps
import Testing

@testable import Workflow
@testable import snapwf

/// What `snapwf doctor` says about what it found.
struct DoctorTests {
    private static let state = StateDirectory(reading: "/state")

    @Test("one line a check, with what to do next where something is wrong; one FAIL makes it unhealthy")
    func report() throws {
        let findings = [
            Finding.ok("SQLite", "3.52.0"), .warn("free space", "1 GiB", next: "free some"),
            .fail("helper", "is missing:\n/x/snapshot", next: "make build"),
        ]
        let report = DoctorReport(findings)
        #expect(
            report.text(quiet: false) == """
                ok    SQLite      3.52.0
                warn  free space  1 GiB; next: free some
                FAIL  helper      is missing: /x/snapshot; next: make build

                """)
        #expect(report.text(quiet: true).split(separator: "\n").count == 2)
        #expect(!report.healthy && DoctorReport(Array(findings.prefix(2))).healthy)
        let value = try JSONSerialization.jsonObject(with: Data(JSONText.document(report).utf8))
        let document = try #require(value as? [String: Any])
        #expect(document["schema"] as? Int == 1 && document["healthy"] as? Bool == false)
        let checks = try #require(document["checks"] as? [[String: Any]])
        #expect(checks.compactMap { $0["verdict"] as? String } == ["ok", "warn", "fail"])
        #expect(checks.last?["next"] as? String == "make build")
    }

    @Test("little free space is a warning, hardly any a failure")
    func freeSpace() {
        #expect(StateChecks.freeSpace(100 << 30, in: "/state").verdict == .ok)
        #expect(StateChecks.freeSpace(1 << 30, in: "/state").verdict == .warn)
        #expect(StateChecks.freeSpace(1 << 20, in: "/state").verdict == .fail)
    }

    @Test("each version of SQLite with the WAL-reset bug is named as such, and no other")
    func sqlite() {
        let buggy: [Int32] = [3_007_000, 3_040_001, 3_051_002]
        #expect(buggy.allSatisfy { SQLiteLibrary.hasWALResetBug($0) })
        #expect(![3_006_023, 3_051_003, 3_060_000].contains { SQLiteLibrary.hasWALResetBug($0) })
        let finding = DatabaseChecks.sqlite(version: "3.40.1", hasWALResetBug: true)
        #expect(finding.verdict == .ok && finding.text.contains("snapwf guards against it"))
        #expect(DatabaseChecks.sqlite(version: "3.52.0", hasWALResetBug: false).text == "3.52.0")
    }

    @Test("a damaged database fails with the first thing found and how to move it away; a long log is a warning")
    func runsDatabase() {
        let sizes = DatabaseChecks.Sizes(database: 4096, log: 0)
        let damaged = DatabaseChecks.runsDatabase(
            "/state/workflow.db", problems: ["*** in database main ***", "Tree 5 page 5: bad", "more"], sizes)
        #expect(damaged.verdict == .fail && damaged.text.contains("Tree 5 page 5: bad (and more: 3 lines in all)"))
        #expect(damaged.next?.contains("mv /state/workflow.db* /state/damaged/") == true)
        #expect(DatabaseChecks.runsDatabase("/state/workflow.db", problems: [], sizes).verdict == .ok)
        let long = DatabaseChecks.Sizes(database: 4096, log: 100 << 20)
        #expect(DatabaseChecks.runsDatabase("/state/workflow.db", problems: [], long).verdict == .warn)
    }

    @Test(
        "a store that is not there is no trouble, an older one a warning, one that cannot be read a failure",
        arguments: [
            (WorkflowError.Code.noStore, Finding.Verdict.ok), (.storeNeedsMigration, .warn),
            (.storeNewerThanProgram, .fail), (.storeCorrupt, .fail), (.storeNotWritable, .fail), (.storeBusy, .fail),
        ])
    func storeErrors(code: WorkflowError.Code, verdict: Finding.Verdict) {
        let finding = DatabaseChecks.runsDatabase("/state/workflow.db", WorkflowError(code, "why"))
        #expect(finding.verdict == verdict && (finding.next == nil) == (verdict == .ok))
    }

    @Test("a damaged catalog fails, and it is said how its snapshots are taken in again")
    func catalog() {
        #expect(DatabaseChecks.catalogDatabase(Self.state, problems: [], size: 1).verdict == .ok)
        let damaged = DatabaseChecks.catalogDatabase(Self.state, problems: ["bad"], size: 1)
        #expect(damaged.verdict == .fail && damaged.next?.contains("snapwf snapshots adopt --all") == true)
    }

    @Test("a snapshot without its file, and one without its row, are named with what mends them; of many only some")
    func store() {
        var audit = CatalogAudit(snapshots: 3)
        #expect(DatabaseChecks.store(Self.state, audit).map(\.verdict) == [.ok])
        audit.broken = [.init(id: "snap-1", problem: "its file is missing")]
        audit.unknown = ["snap-2"]
        let findings = DatabaseChecks.store(Self.state, audit)
        #expect(findings.map(\.verdict) == [.warn, .warn])
        #expect(findings.map(\.next) == ["snapwf snapshots verify snap-1", "snapwf snapshots adopt snap-2"])
        audit.unknown = (0..<100).map { "snap-\($0)" }
        let many = DatabaseChecks.store(Self.state, audit)
        #expect(many.count == 12 && many.last?.text == "and 90 more")
    }

    @Test("only a helper of this very version is well")
    func helper() {
        let version = "snapshot \(Version.text) (output format \(SnapshotKey.formatVersion))"
        #expect(
            SandboxChecks.helper("/x/snapshot", status: 0, says: version) == .ok("helper", "/x/snapshot, \(version)"))
        #expect(
            SandboxChecks.helper("/x/snapshot", status: 0, says: "snapshot 0.0.9 (output format 1)").verdict == .fail)
        #expect(SandboxChecks.helper("/x/snapshot", status: 127, says: "not found").verdict == .fail)
    }

    @Test("a switch that forbids user namespaces is named with the command that turns it, root needs fewer")
    func userNamespaces() {
        typealias Switches = SystemChecks.NamespaceSwitches
        func next(_ switches: Switches) -> String? { SystemChecks.userNamespaces(switches).next }
        #expect(next(Switches(isRoot: false)) == nil)
        #expect(next(Switches(isRoot: true, most: 0))?.contains("user.max_user_namespaces=") == true)
        #expect(next(Switches(isRoot: false, unprivileged: 0))?.contains("unprivileged_userns_clone=1") == true)
        #expect(next(Switches(isRoot: false, most: 9, unprivileged: 1, appArmor: 1))?.contains("apparmor") == true)
        #expect(next(Switches(isRoot: true, most: 9, unprivileged: 0, appArmor: 1)) == nil)
    }

    @Test("a low limit of open files is a warning, with a command that this user may type")
    func openFiles() {
        #expect(SystemChecks.openFiles(soft: 1024, hard: 1024) == .ok("open files", "up to 1024"))
        #expect(SystemChecks.openFiles(soft: .max, hard: .max) == .ok("open files", "no limit"))
        #expect(SystemChecks.openFiles(soft: 256, hard: 4096).next?.hasPrefix("ulimit -n 1024") == true)
        #expect(SystemChecks.openFiles(soft: 256, hard: 256).next?.hasPrefix("sudo prlimit") == true)
    }

    @Test("a state directory on a network's file system is a warning")
    func fileSystem() {
        let mounts = """
            21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
            30 21 0:45 / /s rw master:2 - nfs4 server:/x rw
            31 21 0:46
            """
        #expect(StateChecks.fileSystemKind(ofDevice: "8:1", in: mounts) == "ext4")
        #expect(StateChecks.fileSystemKind(ofDevice: "0:45", in: mounts) == "nfs4")
        #expect(StateChecks.fileSystemKind(ofDevice: "0:46", in: mounts) == nil)
        #expect(StateChecks.fileSystem("ext4", of: "/s") == .ok("file system", "ext4"))
        let shared = StateChecks.fileSystem("nfs4", of: "/s")
        #expect(shared.verdict == .warn && shared.text.contains("/s is on nfs4"))
    }

    @Test("what virtual machines need is a failure only for who wants one")
    func machines() {
        for isWanted in [false, true] {
            let checks = MachineChecks(
                kernel: "/no/kernel", qemu: "/no/qemu", agent: "/no/agent", isWanted: isWanted)
            let findings = checks.run()
            #expect(findings.map(\.name) == ["QEMU", "guest kernel", "agent"])
            #expect(findings.allSatisfy { $0.verdict == (isWanted ? .fail : .ok) }, "\(findings)")
            #expect(findings.allSatisfy { ($0.next != nil) == isWanted })
        }
    }

    @Test("a registry's refusal says how to log in, silence how to try the address")
    func registry() throws {
        let image = try ImageReference(parsing: "registry.example/a/b:1")
        let refused = RemoteChecks.registry(image, OCIError(.unauthorized, "no"))
        #expect(refused.verdict == .fail && refused.next?.hasPrefix("docker login registry.example") == true)
        let silent = RemoteChecks.registry(image, OCIError(.unreachable, "refused"))
        #expect(silent.verdict == .fail && silent.next == "curl -sSI https://registry.example/v2/")
    }

    @Test("an API that a flag names must answer; one that only the environment names is a warning")
    func api() {
        let error = SandboxError(.credentials, "the token is refused")
        let named = RemoteChecks.api("https://api.example", error, isNamed: true, again: "snapwf doctor")
        #expect(named.verdict == .fail && named.next?.contains("token") == true)
        #expect(RemoteChecks.api("https://a", error, isNamed: false, again: "snapwf doctor").verdict == .warn)
        let socket = RemoteChecks.api("unix:/s", SandboxError(.unavailable, "x"), isNamed: true, again: "")
        #expect(socket.next == "ls -l /s")
    }

    @Test("who installed a package is not told to build")
    func reinstall() {
        let packaged = SandboxChecks.reinstall(naming: "SNAPWF_HELPER", executable: "/usr/bin/snapwf")
        #expect(packaged.contains("SNAPWF_HELPER=") && !packaged.contains("make build"))
        #expect(SandboxChecks.reinstall(naming: "X", executable: "/src/.build/debug/snapwf") == "make build")
    }

    @Test("checks are reported in their order, one that hangs or throws does not take the others with it")
    func checks() async {
        let findings = await DoctorCommand.findings([
            .init("slow", patience: .milliseconds(10)) {
                try await Task.sleep(for: .seconds(3600))
                return []
            },
            .init("broken") { throw SnapshotError(.failed, "why") },
            .init("well") { [.ok("well", "yes")] },
        ])
        #expect(findings.map(\.name) == ["slow", "broken", "well"])
        #expect(findings.map(\.verdict) == [.warn, .fail, .ok])
    }

    @Test("what takes longer than its deadline is left behind; what fails in time throws its own error")
    func deadline() async throws {
        let late: Void? = try await within(.milliseconds(10)) { try await Task.sleep(for: .seconds(3600)) }
        #expect(late == nil)
        #expect(try await within(.seconds(60)) { 7 } == 7)
        await #expect(throws: SnapshotError.self) {
            try await within(.seconds(60)) { throw SnapshotError(.failed, "x") }
        }
    }

    @Test("of a shared store: a standby is a failure, no encryption and a clock that is off are warnings")
    func sharedStore() {
        func verdicts(
            _ transport: StoreServer.Transport, ahead: Double = 0, primary: Bool = true
        ) -> [Finding.Verdict] {
            SharedStoreChecks.findings(
                StoreServer(
                    version: "15.8", transport: transport, clockAhead: ahead, isPrimary: primary, standbys: 1,
                    synchronousStandbys: 0)
            ).map(\.verdict)
        }
        #expect(verdicts(.encrypted("TLSv1.3")) == [.ok, .ok, .ok] && verdicts(.socket) == [.ok, .ok, .ok])
        #expect(verdicts(.plain) == [.warn, .ok, .ok] && verdicts(.socket, primary: false) == [.ok, .fail, .ok])
        #expect(verdicts(.socket, ahead: -1.5) == [.ok, .ok, .warn])
        var standing = StoreStanding(id: "a")
        #expect(SharedStoreChecks.store("db", standing, StoreFigures()).verdict == .ok)
        standing.state = .moved
        #expect(SharedStoreChecks.store("db", standing, StoreFigures()).verdict == .fail)
    }
}
