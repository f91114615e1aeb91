import Connect
import Sandbox
import SandboxAPI
import SwiftProtobuf
import Testing

@Suite("calls for sandboxes")
struct SandboxCallTests {
    @Test("show what was created, and end it")
    func life() async throws {
        try await ServedSandboxes.with { served in
            let env = ["SNAPWF_RUN": "r 1\n=ä", "EMPTY": ""]
            let made = try await served.call(SandboxMethods.createSandbox) {
                $0.name = "snapwf-r1-g1"
                $0.env = env
                $0.timeoutMinutes = 20
                $0.resources.vcpus = 2
                $0.resources.memoryMb = 512
                $0.resources.diskGb = 4
            }.sandbox
            #expect(made.status == .running && made.name == "snapwf-r1-g1" && made.env == env)
            #expect(made.organizationID == "local")
            #expect(made.expiresAt.seconds - made.createdAt.seconds == 20 * 60)
            let ref = SandboxRef.id(made.sandboxID)
            #expect(try await served.client.unary(SandboxMethods.getSandbox, ref).sandbox == made)
            #expect(try await served.list() == [made])

            let longer = try await served.call(SandboxMethods.setSandboxTimeout) {
                $0.sandbox = ref
                $0.timeoutMinutes = 100_000
            }.sandbox
            // Counted from now, and capped at a day.
            #expect((86_400...86_500).contains(longer.expiresAt.seconds - made.createdAt.seconds))

            let killed = try await served.call(SandboxMethods.killSandbox) { $0.sandbox = ref }.sandbox
            #expect(killed.status == .cancelled && killed.sandboxID == made.sandboxID && killed.hasStoppedAt)
            #expect(try await served.list().isEmpty)
            await expectError(.notFound) { try await served.client.unary(SandboxMethods.getSandbox, ref) }
            await expectError(.notFound) { try await served.call(SandboxMethods.killSandbox) { $0.sandbox = ref } }
            await expectError(.notFound) { try await served.run(["true"], in: ref) }

            let second = try await served.create()
            let stopped = try await served.call(SandboxMethods.stopSandbox) {
                $0.sandbox = second
                $0.blocking = true
            }.sandbox
            #expect(stopped.status == .finished)
            #expect(try await served.provider.list().isEmpty)
        }
    }

    @Test("give two hours without a time, and refuse what a provider cannot do")
    func defaults() async throws {
        try await ServedSandboxes.with { served in
            let made = try await served.call(SandboxMethods.createSandbox) { _ in }.sandbox
            #expect(made.expiresAt.seconds - made.createdAt.seconds == 120 * 60)
            #expect(!made.hasName)
            func fails(
                _ code: ConnectError.Code, _ field: String, _ fill: (inout CreateSandboxRequest) -> Void
            ) async {
                let error = await expectError(code) { try await served.call(SandboxMethods.createSandbox, fill) }
                #expect(error?.message.hasPrefix(field + ":") == true, "\(error?.message ?? "")")
            }
            for minutes in [0, -1, 1441, Int32.max] {
                await fails(.invalidArgument, "timeout_minutes") { $0.timeoutMinutes = minutes }
            }
            await fails(.invalidArgument, "runtime.named") { $0.runtime.named = "node" }
            await fails(.unimplemented, "runtime.image_ref") { $0.runtime.imageRef = "debian:12" }
            await fails(.unimplemented, "runtime.snapshot") { $0.runtime.snapshot.id = "s" }
            await fails(.invalidArgument, "resources.vcpus") { $0.resources.vcpus = 0 }
            await fails(.invalidArgument, "resources.memory_mb") { $0.resources.memoryMb = -1 }
            await fails(.invalidArgument, "env") { $0.env = ["A=B": "x"] }
            await fails(.invalidArgument, "env") { $0.env = ["": "x"] }
            await fails(.invalidArgument, "env") { $0.env = ["A": "x\0"] }
            await fails(.invalidArgument, "env") { $0.env = ["A": String(repeating: "x", count: 131_072)] }
            await fails(.invalidArgument, "name") { $0.name = String(repeating: "x", count: 257) }
            #expect(try await served.list() == [made])
        }
    }

    @Test("refuse to kill, to stop and to prolong what is over")
    func over() async throws {
        try await ServedSandboxes.with { served in
            let ref = try await served.create()
            try await served.provider.setTimeToLive(.milliseconds(1), of: SandboxID(ref.id))
            try await eventually("the sandbox outlives its time to live") {
                try await served.client.unary(SandboxMethods.getSandbox, ref).sandbox.status == .finished
            }
            let over = try await served.client.unary(SandboxMethods.getSandbox, ref).sandbox
            #expect(over.errorMessage.contains("time to live"))
            await expectError(.failedPrecondition) {
                try await served.call(SandboxMethods.killSandbox) { $0.sandbox = ref }
            }
            await expectError(.failedPrecondition) {
                try await served.call(SandboxMethods.stopSandbox) { $0.sandbox = ref }
            }
            await expectError(.failedPrecondition) {
                try await served.call(SandboxMethods.setSandboxTimeout) {
                    $0.sandbox = ref
                    $0.timeoutMinutes = 5
                }
            }
            await expectError(.failedPrecondition) { try await served.run(["true"], in: ref) }
            await expectError(.failedPrecondition) { try await served.stat("/work", in: ref) }
            for method in [SandboxRef(), SandboxRef.id("")] {
                await expectError(.invalidArgument) { try await served.client.unary(SandboxMethods.getSandbox, method) }
            }
            for id in ["../../etc", "sb-" + String(repeating: "0", count: 20), "x\0"] {
                await expectError(.notFound) { try await served.client.unary(SandboxMethods.getSandbox, .id(id)) }
            }
        }
    }

    @Test("list the newest first, in pages that nothing made or ended in between disturbs")
    func pages() async throws {
        try await ServedSandboxes.with { served in
            var made: [String] = []
            for _ in 0..<7 { made.append(try await served.create().id) }
            func page(_ token: String?, _ size: Int32 = 2) async throws -> ListSandboxesResponse {
                try await served.call(SandboxMethods.listSandboxes) {
                    $0.pageSize = size
                    if let token { $0.pageToken = token }
                }
            }
            let first = try await page(nil)
            #expect(first.sandboxes.map(\.sandboxID) == [made[6], made[5]])
            // The one that the token names goes, a new one comes: the next page is the same.
            _ = try await served.call(SandboxMethods.killSandbox) { $0.sandbox = .id(made[5]) }
            let late = try await served.create().id
            let second = try await page(first.nextPageToken)
            #expect(second.sandboxes.map(\.sandboxID) == [made[4], made[3]])
            let rest = try await page(second.nextPageToken, 100)
            #expect(rest.sandboxes.map(\.sandboxID) == [made[2], made[1], made[0]])
            #expect(!rest.hasNextPageToken)
            #expect(
                try await served.list().map(\.sandboxID) == [
                    late, made[6], made[4], made[3], made[2], made[1], made[0],
                ])
            await expectError(.invalidArgument) { try await page("bm9uc2Vuc2U=") }
            await expectError(.invalidArgument) { try await page(nil, -1) }

            let all = try await served.list()
            let filtered = try await served.call(SandboxMethods.listSandboxes) {
                $0.filter.createdAfter = all[3].createdAt
                $0.filter.createdBefore = all[1].createdAt
                $0.filter.states = [.running]
            }.sandboxes
            #expect(filtered == [all[2], all[3]])
            let none = try await served.call(SandboxMethods.listSandboxes) { $0.filter.states = [.failed] }
            #expect(none.sandboxes.isEmpty && !none.hasNextPageToken)
        }
    }

    @Test("answer with less than was asked for where environments are large, and lose none")
    func largeEnvironments() async throws {
        try await ServedSandboxes.with { served in
            let env = ["FILL": String(repeating: "x", count: 131_000)]
            for number in 0..<17 {
                _ = try await served.provider.create(
                    SandboxSpec(name: "n\(number)", labels: env, timeToLive: .seconds(300)))
            }
            let first = try await served.call(SandboxMethods.listSandboxes) { $0.pageSize = 500 }
            #expect(first.sandboxes.count < 17 && first.hasNextPageToken)
            let size = try (first.serializedBytes() as [UInt8]).count
            #expect(size < 4 << 20)
            #expect(Set(try await served.list().map(\.name)) == Set((0..<17).map { "n\($0)" }))
        }
    }
}

extension ServedSandboxes {
    /// All pages.
    func list(pageSize: Int32? = nil) async throws -> [SandboxMessage] {
        var all: [SandboxMessage] = []
        var token: String?
        repeat {
            let page = try await call(SandboxMethods.listSandboxes) {
                if let pageSize { $0.pageSize = pageSize }
                if let token { $0.pageToken = token }
            }
            all += page.sandboxes
            token = page.hasNextPageToken ? page.nextPageToken : nil
        } while token != nil
        return all
    }
}
