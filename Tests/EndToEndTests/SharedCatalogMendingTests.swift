import Foundation
import TestSupport
import Testing

extension EndToEnd.SharedCatalogs {
    @Test("a run that another machine takes over after its snapshot was made fetches it, and says where it is there")
    func takenOverLate() async throws {
        let world = try await World()
        defer { world.registry.stop() }
        let (first, second) = try (world.installation(), world.installation())
        let killed = try await first.snapwf(
            "run", "--name", "app", world.image, environment: ["SNAPWF_TEST_CRASH_AT": "step:name:effect.before"])
        try #require(killed.status == 128 + 9, "\(killed.everything)")
        try await world.endLeases()
        let run = try #require(try await first.runIDs().last)
        let resumed = try await second.snapwf("resume", "--json", run)
        try #require(resumed.status == 0, "\(resumed.everything)")
        let named = try await second.snapwf("snapshots", "inspect", "-q", "app")
        #expect(named.status == 0 && resumed.output.contains(second.home + "/snapshots/"), "\(resumed.everything)")
        #expect(try await snapshot(of: second) == snapshot(of: first))
        #expect(try await world.conversions() == 1)
    }

    @Test("what is on one machine only is waited for until the run is resumed there")
    func onlyThere() async throws {
        let store = try await SharedStore()
        let image = "oci:\(try await Images.shared.smallLayout()):latest"
        let (first, second) = try (
            Installation(environment: store.environment), Installation(environment: store.environment)
        )
        let killed = try await first.snapwf(
            "run", "--name", "app", image, environment: ["SNAPWF_TEST_CRASH_AT": "step:name:effect.before"])
        try #require(killed.status == 128 + 9, "\(killed.everything)")
        try await store.run("DELETE FROM leases; DELETE FROM shared_turns")
        let run = try #require(try await first.runIDs().last)
        let elsewhere = try await second.snapwf("resume", run)
        #expect(elsewhere.status == 3 && elsewhere.errors.contains("resume the run there"), "\(elsewhere.everything)")
        let there = try await first.snapwf("resume", run)
        #expect(there.status == 0, "\(there.everything)")
    }

    @Test("a run that moves to a shared store in its middle goes on in its sandbox, whatever others have made")
    func movedInTheMiddle() async throws {
        let world = try await World()
        defer { world.registry.stop() }
        let first = try Installation()
        let killed = try await first.snapwf(
            "run", world.image, environment: ["SNAPWF_TEST_CRASH_AT": "pull:start.after"])
        try #require(killed.status == 128 + 9, "\(killed.everything)")
        let moved = try await first.snapwf("store", "copy", "--to", world.store.address)
        try #require(moved.status == 0, "\(moved.everything)")
        let run = try #require(
            try await first.snapwf("ls", "-q", environment: world.environment).output.split(separator: "\n").first)
        let other = try await world.installation().snapwf("run", "-q", world.image)
        try #require(other.status == 0, "\(other.everything)")
        let resumed = try await first.snapwf("resume", String(run), environment: world.environment)
        #expect(resumed.status == 0, "\(resumed.everything)")
        #expect(try await world.store.run("SELECT count(*) FROM resources WHERE state <> 'released'") == "0\n")
        #expect(first.names(in: "sandboxes").isEmpty)
    }

    @Test(
        "when the registry between them is gone, a machine makes the image itself, keeps it, and says so",
        .enabled(if: TestSize.isLong))
    func registryGone() async throws {
        let world = try await World()
        let (first, second) = try (world.installation(), world.installation())
        let made = try await first.snapwf("run", "-q", world.image)
        try #require(made.status == 0, "\(made.everything)")
        try await world.registry.stopAndWait()
        let alone = try await second.snapwf("run", world.image)
        #expect(alone.status == 0, "\(alone.everything)")
        #expect(alone.errors.contains("it is made here"), "\(alone.everything)")
        #expect(alone.errors.contains("not pushed to") && alone.errors.contains("setting push"), "\(alone.everything)")
        #expect(try await snapshot(of: second) == snapshot(of: first))
    }

    @Test("a pull by hand that was killed is in no run's way")
    func killedPull() async throws {
        let world = try await World()
        defer { world.registry.stop() }
        let (first, second) = try (world.installation(), world.installation())
        let made = try await first.snapwf("run", "--json", world.image)
        let place = try #require(((try made.json()["result"]) as? [String: Any])?["pushedTo"] as? String)
        let killed = try await second.snapwf(
            "snapshots", "pull", place, environment: ["SNAPWF_TEST_CRASH_AT": "register:rename.after"])
        #expect(killed.status == 128 + 9, "\(killed.everything)")
        let named = try await second.snapwf("run", "-q", "--name", "app", world.image)
        #expect(named.status == 0, "\(named.everything)")
        #expect(try await world.conversions() == 1)
    }

    @Test("a record that disagrees is told after what gc did, and nobody waits for its turn")
    func disagreeing() async throws {
        let world = try await World()
        defer { world.registry.stop() }
        let first = try world.installation()
        let made = try await first.snapwf("run", "-q", world.image)
        try #require(made.status == 0, "\(made.everything)")
        try await world.store.run(
            "UPDATE shared_snapshots SET sha256 = repeat('0', 64); DELETE FROM shared_copies; DELETE FROM shared_turns")
        try await world.store.run(
            "INSERT INTO shared_turns VALUES ('convert old', 'x', 'x', now() - interval '2 days')")
        let swept = try await first.snapwf("gc", "--json")
        #expect(swept.status == 1 && swept.errors.contains("recorded other bytes"), "\(swept.everything)")
        #expect(swept.output.contains("\"items\""), "\(swept.everything)")
        #expect(try await world.store.run("SELECT count(*) FROM shared_turns") == "0\n")
    }

    @Test("a worker pushes where its own settings say when the request says nothing, and submit warns")
    func workersSetting() async throws {
        let world = try await World()
        defer { world.registry.stop() }
        let source = try await SlowRegistry(layout: try await Images.shared.smallLayout())
        try source.letGo()
        let author = try Installation(environment: world.store.environment)
        let submitted = try await author.snapwf("submit", source.reference)
        #expect(submitted.status == 0, "\(submitted.everything)")
        #expect(submitted.errors.contains("no registry is named"), "\(submitted.everything)")
        let worker = try await world.installation().snapwf("worker", "--until-idle")
        #expect(worker.status == 0, "\(worker.everything)")
        #expect(try await world.store.run("SELECT count(*) FROM shared_places") == "1\n", "\(worker.everything)")
    }
}
