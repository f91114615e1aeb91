import Foundation
import Synchronization
import TestSupport
import Testing

@testable import OCI

@Suite("Uploads")
struct UploadTests {
    /// A registry that keeps what it got, and does once what a test asks for.
    private final class Uploads: Sendable {
        struct State {
            var blobs: [Digest: [UInt8]] = [:]
            var upload: [UInt8]?
            var number = 0
        }

        let state = Mutex(State())
        /// Asked before everything else; nil for the usual.
        let odd: @Sendable (ScriptedServer.Request, inout State) -> [ScriptedServer.Action]?

        init(
            _ odd: @escaping @Sendable (ScriptedServer.Request, inout State) -> [ScriptedServer.Action]? = { _, _ in nil
            }
        ) {
            self.odd = odd
        }

        func handle(_ request: ScriptedServer.Request) -> [ScriptedServer.Action] {
            state.withLock { state in odd(request, &state) ?? usual(request, &state) }
        }

        private func usual(_ request: ScriptedServer.Request, _ state: inout State) -> [ScriptedServer.Action] {
            let digest = request.path.split(separator: "/").last.flatMap { try? Digest(parsing: String($0)) }
            func standing(_ count: Int) -> [String: String] {
                ["Location": "/uploads/\(state.number)?secret=x", "Range": "0-\(max(0, count - 1))"]
            }
            switch request.method {
            case "HEAD":
                return .answer(digest.map { state.blobs[$0] != nil } == true ? 200 : 404)
            case "POST":
                state.number += 1
                state.upload = []
                return .answer(202, standing(0))
            case "GET":
                guard let upload = state.upload, request.path == "/uploads/\(state.number)" else { return .answer(404) }
                return .answer(204, standing(upload.count))
            case "PATCH":
                guard var upload = state.upload, request.headers["content-range"]?.hasPrefix("\(upload.count)-") == true
                else { return .answer(416) }
                upload += request.body
                state.upload = upload
                return .answer(202, standing(upload.count))
            default:
                let bytes = (state.upload ?? []) + request.body
                let found = Digest.sha256(of: bytes)
                guard request.query.contains("digest=\(percentEncoded(found.description))") else {
                    return .error(400, "DIGEST_INVALID", "no")
                }
                state.blobs[found] = bytes
                state.upload = nil
                return .answer(201, ["Location": "/v2/acme/app/blobs/\(found)"])
            }
        }
    }

    private static let bytes = noise(20_000_000, seed: 5)
    private static let blob = Descriptor(
        mediaType: .ociLayer, digest: .sha256(of: bytes), size: Int64(bytes.count))

    private struct Sent {
        var bytes = 0
        var locations: [String?] = []
    }

    /// Uploads the blob; what it sent, and whether the registry has it.
    private func upload(
        to uploads: Uploads, _ server: ScriptedServer, credentials: any CredentialStore = .none,
        resuming location: String? = nil
    ) async throws -> Sent {
        let sent = Mutex(Sent())
        try await withSources(credentials: credentials) { sources in
            let destination = try sources.destination(for: ImageReference(parsing: "\(server.host)/acme/app"))
            try await destination.upload(
                Self.bytes, Self.blob, resuming: location,
                saved: { location in sent.withLock { $0.locations.append(location) } },
                sent: { count in sent.withLock { $0.bytes += count } })
        }
        #expect(uploads.state.withLock { $0.blobs[Self.blob.digest] } == Self.bytes)
        return sent.withLock { $0 }
    }

    @Test("a blob goes in pieces, and where it stands is told after each; at the end there is nothing to go on from")
    func pieces() async throws {
        let uploads = Uploads()
        try await withServer(uploads.handle) { server in
            let sent = try await upload(to: uploads, server)
            #expect(sent.bytes == Self.bytes.count)
            #expect(sent.locations.count == 5)
            #expect(sent.locations.last == .some(nil))
            #expect(server.requests.map(\.method) == ["POST", "PATCH", "PATCH", "PATCH", "PUT"])
        }
    }

    @Test("a request that breaks goes on where the registry says that it stands")
    func broken() async throws {
        let broken = Mutex(false)
        let uploads = Uploads { request, state in
            guard request.method == "PATCH", state.upload?.isEmpty == false,
                broken.withLock({
                    let first = !$0; $0 = true; return first
                })
            else { return nil }
            // Half of it is kept.
            state.upload? += request.body.prefix(request.body.count / 2)
            return [.cut]
        }
        try await withServer(uploads.handle) { server in
            let sent = try await upload(to: uploads, server)
            #expect(sent.bytes < Self.bytes.count + (5 << 20))
            #expect(server.requests.filter { $0.method == "POST" }.count == 1)
        }
    }

    @Test("another process goes on with an upload; one that the registry has forgotten begins anew")
    func resumed() async throws {
        let uploads = Uploads()
        uploads.state.withLock { state in
            state.number = 7
            state.upload = Array(Self.bytes.prefix(15_000_000))
        }
        try await withServer(uploads.handle) { server in
            let sent = try await upload(to: uploads, server, resuming: "http://\(server.host)/uploads/7?secret=x")
            #expect(sent.bytes == 5_000_000)
            #expect(!server.requests.contains { $0.method == "POST" })
        }
        let forgetful = Uploads()
        try await withServer(forgetful.handle) { server in
            let sent = try await upload(to: forgetful, server, resuming: "http://\(server.host)/uploads/7?secret=x")
            #expect(sent.bytes == Self.bytes.count)
        }
    }

    @Test("bytes that are not those of the blob are not built upon: the upload begins anew")
    func foreignBytes() async throws {
        let uploads = Uploads()
        uploads.state.withLock { state in
            state.number = 7
            state.upload = [UInt8](repeating: 1, count: 1000)
        }
        try await withServer(uploads.handle) { server in
            _ = try await upload(to: uploads, server, resuming: "/uploads/7")
            #expect(server.requests.filter { $0.method == "POST" }.count == 1)
        }
    }

    @Test("a registry that takes no pieces gets the blob in one request", arguments: [404, 405, 501])
    func monolithic(status: Int) async throws {
        let uploads = Uploads { request, _ in request.method == "PATCH" ? .answer(status) : nil }
        try await withServer(uploads.handle) { server in
            _ = try await upload(to: uploads, server)
            #expect(server.requests.map(\.method).last == "PUT")
            #expect(server.requests.last?.body.count == Self.bytes.count)
        }
    }

    @Test("a registry that wants larger pieces gets them; one that fails for a while is asked again")
    func wishes() async throws {
        let failures = Mutex(3)
        let uploads = Uploads { request, state in
            if request.method == "POST" {
                state.number += 1
                state.upload = []
                return .answer(202, ["Location": "/uploads/\(state.number)", "OCI-Chunk-Min-Length": "15000000"])
            }
            return failures.withLock { left in
                guard request.method == "PUT", left > 0 else { return nil }
                left -= 1
                return .answer(503)
            }
        }
        try await withServer(uploads.handle) { server in
            _ = try await upload(to: uploads, server)
            #expect(server.requests.first { $0.method == "PATCH" }?.body.count == 15_000_000)
        }
    }

    @Test("credentials go to the registry alone, not to where it lets the bytes be sent, nor along a redirect")
    func elsewhere() async throws {
        let storage = Uploads()
        try await withServer(storage.handle) { other in
            storage.state.withLock { $0.upload = [] }
            let registry = Uploads { request, _ in
                guard request.headers["authorization"] != nil else {
                    return .answer(401, ["WWW-Authenticate": "Basic realm=\"x\""])
                }
                switch request.method {
                case "POST": return .answer(202, ["Location": "/uploads/0"])
                // Everything else is sent on to the storage.
                default: return .answer(307, ["Location": "http://\(other.host)/uploads/0?\(request.query)"])
                }
            }
            try await withServer(registry.handle) { server in
                let credentials = FixedCredentials(
                    host: server.host, value: Credentials(username: "ann", password: "secret"))
                try await withSources(credentials: credentials) { sources in
                    let destination = try sources.destination(for: ImageReference(parsing: "\(server.host)/acme/app"))
                    try await destination.upload(Self.bytes, Self.blob)
                }
                #expect(storage.state.withLock { $0.blobs[Self.blob.digest] } == Self.bytes)
                #expect(other.requests.count >= 3)
                #expect(other.requests.allSatisfy { $0.headers["authorization"] == nil })
            }
        }
    }

    @Test("a token is asked for with the right to push, also where only reading is asked for at first")
    func scope() async throws {
        let registry = Uploads { request, _ in
            if request.path == "/token" {
                let may = request.query.contains(percentEncoded("repository:acme/app:pull,push"))
                return .answer(200, body: Array(#"{"token":"\#(may ? "push" : "pull")"}"#.utf8))
            }
            guard request.headers["authorization"] == "Bearer push" else {
                let host = request.headers["host"] ?? ""
                return .answer(
                    401,
                    [
                        "WWW-Authenticate":
                            "Bearer realm=\"http://\(host)/token\",service=\"s\",scope=\"repository:acme/app:pull\""
                    ])
            }
            return nil
        }
        try await withServer(registry.handle) { server in
            try await withSources { sources in
                let destination = try sources.destination(for: ImageReference(parsing: "\(server.host)/acme/app"))
                #expect(try await destination.hasBlob(Self.blob) == false)
            }
            _ = try await upload(to: registry, server)
            #expect(server.requests(to: "/token").count == 2)
        }
    }

    @Test("who may not push is told so, and no secret of an address is in what is said")
    func denied() async throws {
        let registry = Uploads { request, _ in
            switch request.method {
            case "POST": .answer(202, ["Location": "/uploads/1?signature=hidden"])
            default: .error(403, "DENIED", "read only")
            }
        }
        try await withServer(registry.handle) { server in
            try await withSources { sources in
                let destination = try sources.destination(for: ImageReference(parsing: "\(server.host)/acme/app"))
                let error = await failure { try await destination.upload(Self.bytes, Self.blob) }
                #expect(error?.code == .denied)
                #expect(error?.message.contains("push to acme/app") == true)
                #expect(error?.message.contains("hidden") == false)
            }
        }
    }

    @Test("a registry that loses every upload is given up, not asked for ever")
    func hopeless() async throws {
        let registry = Uploads { request, _ in request.method == "PUT" ? .answer(404) : nil }
        try await withServer(registry.handle) { server in
            try await withSources { sources in
                let destination = try sources.destination(for: ImageReference(parsing: "\(server.host)/acme/app"))
                let small = Array("small".utf8)
                let error = await failure {
                    try await destination.upload(
                        small, Descriptor(mediaType: .ociLayer, digest: .sha256(of: small), size: 5))
                }
                #expect(error?.code == .notFound)
                #expect(server.requests.filter { $0.method == "POST" }.count == 4)
            }
        }
    }

    @Test(
        "the range of an answer is read as it is meant",
        arguments: [("0-99", 100), ("bytes=0-99", 100), ("0-0", 1), ("5-9", nil), ("x", nil), ("0-", nil), ("", nil)]
            as [(String, Int?)])
    func ranges(text: String, count: Int?) {
        #expect(BlobUpload.count(ofRange: text) == count)
    }
}
