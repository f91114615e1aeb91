@testable import Sandbox
import Testing

/// What a call threw; a test fails when it threw nothing.
func sandboxError(
    sourceLocation: SourceLocation = #_sourceLocation, _ call: () async throws -> Void
) async throws -> SandboxError {
    do {
        try await call()
    } catch let error as SandboxError {
        return error
    }
    Issue.record("nothing was thrown", sourceLocation: sourceLocation)
    throw SandboxError(.system, "nothing was thrown")
}

@Suite("creating and finding through the API", .enabled(if: PeerWorld.isPossible))
struct DepotCreationTests {
    private let labels = ["SNAPWF_RUN": "r1", "SNAPWF_GENERATION": "1", "SNAPWF_OWNER": "me"]

    private func spec(_ change: (inout SandboxSpec) -> Void = { _ in }) -> SandboxSpec {
        var spec = SandboxSpec(name: "snapwf-r1-g1", labels: labels, timeToLive: .seconds(1200))
        change(&spec)
        return spec
    }

    @Test("a creation waits until the sandbox runs, in one call")
    func boot() async throws {
        try await PeerWorld.with(settings: ["boot_seconds": 0.3, "unknown_fields": true]) { world in
            let info = try await world.provider.create(spec())
            #expect(info.state == .running)
            #expect(info.labels == labels && info.name == "snapwf-r1-g1")
            let life = try #require(info.expiresAt).milliseconds - info.createdAt.milliseconds
            #expect(life == 1_200_000)
            #expect(try world.count("call", "CreateSandbox") == 1)
            #expect(try await world.provider.get(info.id) == info)
        }
    }

    @Test("a sandbox that fails, vanishes or expires before it runs ends the creation, and nothing is in doubt")
    func stillborn() async throws {
        for fault in ["fail", "vanish", "expire"] {
            try await PeerWorld.with(settings: ["boot_seconds": 30]) { world in
                try world.rules(["method": "GetSandbox", "fault": fault, "nth": 2])
                let error = try await sandboxError { _ = try await world.provider.create(spec()) }
                #expect(error.code == .ended && !error.isInDoubt, "\(fault): \(error)")
                if fault == "fail" { #expect(error.message.contains("the machine below it failed")) }
                #expect(try world.living() == 0)
            }
        }
    }

    @Test("one that does not run in time is in doubt, for it is there")
    func late() async throws {
        try await PeerWorld.with(settings: ["boot_seconds": 60], configure: { $0.startPatience = .milliseconds(300) }) {
            let error = try await sandboxError { [provider = $0.provider] in _ = try await provider.create(spec()) }
            #expect(error.code == .unavailable && error.isInDoubt)
            #expect(try await $0.provider.findInDoubt(labels: labels, since: nil).map(\.state) == [.starting])
        }
    }

    @Test(
        "a creation that worked and was answered with an error is in doubt, made once, and found though lists lag",
        arguments: [
            ["fault": "status", "status": "500", "code": "internal", "when": "after"],
            ["fault": "status", "status": "503", "body": "html", "when": "after"],
            ["fault": "status", "status": "500", "body": "html", "when": "after"],
            ["fault": "reset", "when": "after"], ["fault": "reset", "when": "answer", "bytes": "3"],
        ])
    func doubt(_ rule: [String: String]) async throws {
        try await PeerWorld.with(
            settings: ["list_lag_calls": 3, "skew": -900], configure: { $0.listingLag = .seconds(20) }
        ) { world in
            let intent = UnixTime.now()
            var numbers: [String: Any] = rule.merging(["method": "CreateSandbox"]) { $1 }
            for key in ["status", "bytes"] { numbers[key] = rule[key].flatMap { Int($0) } }
            try world.rules(numbers)
            let error = try await sandboxError { _ = try await world.provider.create(spec()) }
            #expect(error.code == .unavailable && error.isInDoubt, "\(error)")
            #expect(try await world.provider.find(labels: labels, since: intent) == [])
            let found = try await world.provider.findInDoubt(labels: labels, since: intent)
            #expect(found.map(\.labels) == [labels])
            #expect(try world.count("created") == 1)
        }
    }

    @Test("nothing is believed only after the lists' lag")
    func nothing() async throws {
        try await PeerWorld.with(configure: { $0.listingLag = .milliseconds(1200) }) { world async throws in
            #expect(try await world.provider.findInDoubt(labels: labels, since: .now()) == [])
            // One at once, and one that is as young as the lag is old.
            #expect(try world.count("call", "ListSandboxes") >= 2)
        }
    }

    @Test("a creation that was refused is in no doubt, and is repeated where that helps")
    func refused() async throws {
        try await PeerWorld.with { world in
            let busy: [String: Any] = ["fault": "status", "status": 429, "retry_after": "0", "method": "CreateSandbox"]
            try world.rules(busy.merging(["times": 2]) { $1 })
            let info = try await world.provider.create(spec())
            #expect(info.state == .running)
            #expect(try world.count("created") == 1)
            try world.rules(busy.merging(["times": 0]) { $1 })
            let error = try await sandboxError { _ = try await world.provider.create(spec()) }
            #expect(error.code == .unavailable && !error.isInDoubt && error.isRetryable)
            try world.clear()
            let refusal = try await sandboxError { _ = try await world.provider.create(spec { $0.imageRef = "" }) }
            #expect(refusal.code == .invalidArgument && !refusal.isInDoubt)
        }
    }

    @Test("a name that is taken means: adopt")
    func taken() async throws {
        try await PeerWorld.with(settings: ["unique_names": true]) { world in
            let made = try await world.provider.create(spec())
            let error = try await sandboxError { _ = try await world.provider.create(spec()) }
            #expect(error.code == .alreadyExists && error.isInDoubt)
            #expect(try await world.provider.findInDoubt(labels: labels, since: nil).map(\.id) == [made.id])
        }
    }

    @Test("a creation that made two is seen as two")
    func duplicates() async throws {
        try await PeerWorld.with { world in
            try world.rules(["method": "CreateSandbox", "fault": "duplicate"])
            let made = try await world.provider.create(spec())
            let found = try await world.provider.find(labels: labels)
            #expect(found.count == 2 && found.contains { $0.id == made.id })
            #expect(found[0].createdAt <= found[1].createdAt)
        }
    }

    @Test("a list goes through all pages and finds only what carries every label")
    func pages() async throws {
        try await PeerWorld.with(settings: ["page_size": 3]) { world in
            var others: [[String: Any]] = []
            for number in 0..<10 {
                others.append(["name": "other", "env": ["SNAPWF_RUN": "r1", "N": "\(number)"], "age": 100 + number])
            }
            others.append(["name": "unlabelled", "age": 5])
            others.append(["env": labels, "status": 7, "age": 1000])
            try world.control(["sandboxes": others])
            let made = try await world.provider.create(spec())
            let all = try await world.provider.list()
            #expect(all.count == 13 && Set(all.map(\.id)).count == 13)
            let mine = try await world.provider.find(labels: labels)
            #expect(mine.map(\.state.isAlive) == [false, true] && mine.last?.id == made.id)
            #expect(try await world.provider.find(labels: ["SNAPWF_RUN": "r1", "N": "7"]).count == 1)
        }
    }

    @Test("a list that breaks off or goes round in a circle is an error and never a short list")
    func incomplete() async throws {
        try await PeerWorld.with(settings: ["page_size": 2]) { world in
            try world.control([
                "sandboxes": (0..<7).map { ["name": "\($0)", "age": $0 + 1] }
            ])
            try world.rules([
                "method": "ListSandboxes", "fault": "status", "status": 500, "code": "internal", "nth": 3, "times": 0,
            ])
            #expect(try await sandboxError { _ = try await world.provider.list() }.code == .unavailable)
            try world.clear(["list_loop": true])
            #expect(try await sandboxError { _ = try await world.provider.list() }.code == .unavailable)
            // A single failure is repeated by the client, for to list only reads.
            try world.clear(["list_loop": false])
            try world.rules([
                "method": "ListSandboxes", "fault": "status", "status": 503, "code": "unavailable", "nth": 2,
            ])
            #expect(try await world.provider.list().count == 7)
        }
    }
}
