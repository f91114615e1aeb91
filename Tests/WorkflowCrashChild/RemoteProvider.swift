import Foundation
import Glibc
import Workflow

/// The sandboxes of the test's `FaultyProvider`, which also counts effects.
struct RemoteProvider: Sendable {
    /// What it answered, or that it did not.
    struct Trouble: RetryClassifying, CustomStringConvertible {
        let description: String
        let isInDoubt: Bool
        var isRetryable: Bool { true }
    }

    let path: String
    /// - Returns: the text of the answer; `nil` if what the request is about is gone.
    func ask(_ verb: String, key: String, _ argument: String = "-") async throws -> String? {
        let sent = Int64(Date().timeIntervalSince1970 * 1000)
        let answer = try await withCheckedThrowingContinuation {
            (continuation: CheckedContinuation<String, any Error>) in
            let thread = Thread {
                continuation.resume(with: Result { try exchange("\(verb) \(sent) \(key) \(argument)\n") })
            }
            thread.start()
        }
        let code = answer.prefix(3)
        switch code {
        case "200": return String(answer.dropFirst(4))
        case "404": return nil
        case "408", "429": throw Trouble(description: answer, isInDoubt: false)
        default: throw Trouble(description: answer, isInDoubt: true)
        }
    }

    private func exchange(_ request: String) throws -> String {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw Trouble(description: "no socket", isInDoubt: false) }
        defer { close(descriptor) }
        // Longer than the provider takes requests for good.
        var patience = timeval(tv_sec: 0, tv_usec: 700_000)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &patience, socklen_t(MemoryLayout<timeval>.size))
        }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard code == 0 else { throw Trouble(description: "no connection", isInDoubt: false) }
        let bytes = Array(request.utf8)
        guard send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
            throw Trouble(description: "not sent", isInDoubt: true)
        }
        var answer: [UInt8] = []
        while answer.count < 4096 {
            var byte: UInt8 = 0
            guard read(descriptor, &byte, 1) == 1 else { break }
            if byte == UInt8(ascii: "\n") { return String(decoding: answer, as: UTF8.self) }
            answer.append(byte)
        }
        throw Trouble(description: "no answer", isInDoubt: true)
    }
}

struct RemoteBox: DurableResource {
    static let kind = "sandbox"
    let provider: RemoteProvider

    var limits: ResourceLimits {
        ResourceLimits(
            createRetry: .patient, releaseRetry: .patient, callTimeout: .seconds(3), releaseTimeout: .seconds(3),
            maximumGenerations: 20)
    }

    func find(_ key: ResourceKey) async throws -> [String] {
        let answer = try await provider.ask("find", key: key.idempotencyKey) ?? ""
        return answer.split(separator: ",").map(String.init)
    }

    func create(_ key: ResourceKey) async throws -> String {
        guard let id = try await provider.ask("create", key: key.idempotencyKey) else { throw ResourceLost() }
        return id
    }

    func liveness(of handle: String, _ key: ResourceKey) async throws -> Liveness {
        try await provider.ask("alive", key: key.idempotencyKey, handle) == nil ? .lost : .alive
    }

    func release(_ handle: String, _ key: ResourceKey) async throws {
        _ = try await provider.ask("release", key: key.idempotencyKey, handle)
    }

    func externalID(of handle: String) -> String { handle }
}

/// Like a snapshot: a sandbox, work in it, an effect that must not happen twice, and a report.
struct Sandboxed: WorkflowDefinition {
    static let name = "sandboxed"
    static let version = 1
    let provider: RemoteProvider

    func run(_ input: Int, in run: RunContext) async throws -> Int {
        let base = try await run.step("prepare", input: input, retry: .patient) { [provider] step in
            _ = try await provider.ask("prepare", key: step.idempotencyKey)
            return input
        }
        let inner = try await run.withResource(RemoteBox(provider: provider), named: "sandbox") { run, box in
            let first = try await run.step("pull", retry: .patient) { [provider] step in
                try await step.report(step.attempt)
                guard try await provider.ask("pull", key: step.idempotencyKey, box) != nil else { throw ResourceLost() }
                try await Task.sleep(for: .milliseconds(30))
                return base + 1
            }
            try await run.sleep("settle", for: .milliseconds(20))
            return try await run.step(
                "register", retry: .patient,
                inDoubt: .verify { [provider] step in
                    try await provider.ask("has", key: step.idempotencyKey, "register") == "yes"
                        ? .done(first + 1) : .notDone
                }
            ) { [provider] step in
                _ = try await provider.ask("register", key: step.idempotencyKey)
                return first + 1
            }
        }
        return try await run.step("report", retry: .patient) { [provider] step in
            _ = try await provider.ask("report", key: step.idempotencyKey)
            return inner + 1
        }
    }
}

extension RetryPolicy {
    /// As often as a provider in trouble needs.
    fileprivate static let patient = RetryPolicy.exponential(
        attempts: 1000, base: .milliseconds(10), cap: .milliseconds(200))
}
