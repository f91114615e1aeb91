import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// A client of the Sandbox API that has nothing in common with ours: the Python package `connectrpc`.
    @Suite(.serialized)
    struct ForeignClients {
        @Test(
            "it can do everything with snapwf serve",
            arguments: [
                ["--codec", "proto", "--compression", "gzip", "--http", "1.1"],
                ["--codec", "json", "--compression", "identity", "--http", "2"],
            ])
        func plain(_ options: [String]) async throws {
            let installation = try Installation()
            try await serving(installation, []) { address in
                let client = try await Self.client(["--url", address] + options)
                #expect(client.status == 0, "\(client.everything)")
            }
            try await installation.expectNothingLeft("after a foreign client")
        }

        @Test("by h2 over TLS, too")
        func overTLS() async throws {
            let installation = try Installation()
            let (certificate, key) = (installation.home + "/certificate.pem", installation.home + "/key.pem")
            let names = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1"]
            let files = ["-keyout", key, "-out", certificate]
            try await Command.run(
                "openssl",
                ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"] + files
                    + names)
            try await serving(installation, ["--tls-cert", certificate, "--tls-key", key]) { address in
                #expect(address.hasPrefix("https://"))
                let client = try await Self.client(["--url", address, "--ca", certificate, "--http", "2"])
                #expect(client.status == 0, "\(client.everything)")
            }
            try await installation.expectNothingLeft("after a foreign client over TLS")
        }

        private static let token = "a-token-that-nobody-guesses"

        private static func client(_ arguments: [String]) async throws -> Finished {
            let who = ["--token", token, "--org", "acme"]
            let program = ["-B", Peer.program("client.py"), "--snapshots", "--forgets"]
            let finished = try await Child(Peer.python, program + who + arguments).wait()
            print("client.py: \(finished.output.split(separator: "\n").last ?? "nothing")")
            return finished
        }

        private func serving(
            _ installation: Installation, _ options: [String], _ body: (String) async throws -> Void
        ) async throws {
            let server = try Child(
                Programs.snapwf, ["serve", "--listen", "127.0.0.1:0", "--org", "acme", "--json"] + options,
                environment: ["SNAPWF_HOME": installation.home, "SNAPWF_SERVE_TOKEN": Self.token])
            let end = ContinuousClock.now + .seconds(30)
            while !server.outputSoFar.contains("\n") {
                try #require(ContinuousClock.now < end && server.process.isRunning, "\(server.errorsSoFar)")
                try await Task.sleep(for: .milliseconds(20))
            }
            let told = try JSONSerialization.jsonObject(with: Data(server.outputSoFar.utf8)) as? [String: Any]
            try await body(try #require(told?["address"] as? String, "\(server.outputSoFar)"))
            server.signal(SIGTERM)
            let finished = try await server.wait()
            #expect(finished.status == 0, "\(finished.everything)")
            #expect(!finished.everything.contains(Self.token))
        }
    }
}
