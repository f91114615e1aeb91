import Foundation
import TestSupport
import Testing

@testable import OCI

@Suite("Credentials of docker login")
struct CredentialTests {
    private let temporary: TemporaryDirectory

    init() throws { temporary = try TemporaryDirectory() }

    private func lookUp(_ host: String, in config: String) async throws -> Credentials? {
        try temporary.write(config.utf8, to: "config.json")
        let store: DockerConfigCredentials = .dockerConfig(environment: ["DOCKER_CONFIG": temporary.path])
        return try await store.credentials(forRegistry: host)
    }

    private static let ann = Data("ann:p:w".utf8).base64EncodedString()

    @Test(
        "an entry is found by the names that docker uses",
        arguments: [
            ("ghcr.io", "ghcr.io"), ("docker.io", "https://index.docker.io/v1/"), ("docker.io", "docker.io"),
            ("ghcr.io", "https://ghcr.io"), ("ghcr.io", "https://ghcr.io/v2/"), ("localhost:5000", "localhost:5000"),
        ])
    func keys(host: String, key: String) async throws {
        let found = try await lookUp(host, in: #"{"auths":{"\#(key)":{"auth":"\#(Self.ann)"},"x":{}}}"#)
        #expect(found == Credentials(username: "ann", password: "p:w"))
    }

    @Test(
        "an entry for something else is not used",
        arguments: ["ghcr.io:443", "evilghcr.io", "ghcr.io.evil.org", "https://ghcr.io/acme", "io"])
    func otherKeys(key: String) async throws {
        #expect(try await lookUp("ghcr.io", in: #"{"auths":{"\#(key)":{"auth":"\#(Self.ann)"}}}"#) == nil)
    }

    @Test("tokens and plain fields are understood")
    func kinds() async throws {
        #expect(
            try await lookUp("a.io", in: #"{"auths":{"a.io":{"auth":"\#(Self.ann)","identitytoken":"t"}}}"#)
                == Credentials(.identityToken("t")))
        #expect(
            try await lookUp("a.io", in: #"{"auths":{"a.io":{"registrytoken":"t"}}}"#)
                == Credentials(.registryToken("t")))
        #expect(
            try await lookUp("a.io", in: #"{"auths":{"a.io":{"username":"u","password":"p"}}}"#)
                == Credentials(username: "u", password: "p"))
        #expect(try await lookUp("a.io", in: #"{"auths":{"a.io":{}}}"#) == nil)
        #expect(try await lookUp("a.io", in: "{}") == nil)
    }

    @Test("a broken file is an error that does not repeat what stands in it")
    func broken() async throws {
        for text in ["s3cret", #"{"auths":{"a.io":{"auth":"s3cret!"}}}"#, #"{"auths":{"a.io":{"auth":["s3cret"]}}}"#] {
            let error = await failure { try await lookUp("a.io", in: text) }
            #expect(error?.code == .invalidConfiguration)
            #expect(error.map { "\($0) \(String(describing: $0.cause))".contains("s3cret") } == false)
        }
    }

    @Test("without a login there are no credentials, but a file that was named must be there")
    func missing() async throws {
        let login: DockerConfigCredentials = .dockerConfig(environment: ["HOME": temporary.path])
        #expect(try await login.credentials(forRegistry: "a.io") == nil)
        let named: DockerConfigCredentials = .file("\(temporary.path)/creds.json")
        #expect(await failure { try await named.credentials(forRegistry: "a.io") }?.code == .invalidConfiguration)
    }

    /// Installs a helper `test` with a shell script as its body, and a configuration that names it.
    private func helper(_ script: String, config: String = #"{"credsStore":"test"}"#) throws -> [String: String] {
        let path = "\(temporary.path)/docker-credential-test"
        try Data("#!/bin/sh\n\(script)\n".utf8).write(to: URL(fileURLWithPath: path))
        #expect(chmod(path, 0o755) == 0)
        try temporary.write(config.utf8, to: "config.json")
        return ["DOCKER_CONFIG": temporary.path, "PATH": "\(temporary.path):/usr/bin:/bin"]
    }

    @Test("a credential helper is asked with the key that docker uses")
    func helperAnswers() async throws {
        let environment = try helper(
            #"test "$1" = get && read key; printf '{"ServerURL":"x","Username":"ann","Secret":"%s"}' "$key""#)
        let store: DockerConfigCredentials = .dockerConfig(environment: environment)
        #expect(
            try await store.credentials(forRegistry: "docker.io")
                == Credentials(username: "ann", password: "https://index.docker.io/v1/"))
        #expect(try await store.credentials(forRegistry: "a.io:5") == Credentials(username: "ann", password: "a.io:5"))
    }

    @Test("a helper of one host goes before the one of all, and its token is an identity token")
    func helperOfHost() async throws {
        let environment = try helper(
            #"printf '{"Username":"<token>","Secret":"t"}'"#,
            config: #"{"credsStore":"missing","credHelpers":{"a.io":"test"}}"#)
        let store: DockerConfigCredentials = .dockerConfig(environment: environment)
        #expect(try await store.credentials(forRegistry: "a.io") == Credentials(.identityToken("t")))
        let error = await failure { try await store.credentials(forRegistry: "b.io") }
        #expect(error?.code == .invalidConfiguration)
        #expect(error?.message.contains("docker-credential-missing") == true)
    }

    @Test("a helper without an entry leaves the word to the file")
    func helperWithout() async throws {
        let environment = try helper(
            "echo credentials not found in native keychain; exit 1",
            config: #"{"credsStore":"test","auths":{"a.io":{"auth":"\#(Self.ann)"}}}"#)
        let store: DockerConfigCredentials = .dockerConfig(environment: environment)
        #expect(try await store.credentials(forRegistry: "a.io") == Credentials(username: "ann", password: "p:w"))
        #expect(try await store.credentials(forRegistry: "b.io") == nil)
    }

    @Test(
        "a helper that fails or babbles is an error without its output",
        arguments: ["echo s3cret; exit 3", "echo s3cret", "kill -9 $$", "yes s3cret"])
    func helperFails(script: String) async throws {
        let store: DockerConfigCredentials = .dockerConfig(environment: try helper("exec 2>&1; \(script)"))
        let error = await failure { try await store.credentials(forRegistry: "a.io") }
        #expect(error?.code == (script.hasPrefix("yes") ? .timedOut : .invalidConfiguration))
        #expect(error?.message.contains("s3cret") == false)
    }

    @Test("a helper that hangs is killed")
    func helperHangs() async throws {
        let environment = try helper("echo $$ >'\(temporary.path)/pid'; exec sleep 1000")
        let helper = CredentialHelper(name: "test", environment: environment, limit: .milliseconds(700))
        #expect(await failure { try await helper.credentials(forKey: "a.io") }?.code == .timedOut)
        let text = try String(contentsOfFile: "\(temporary.path)/pid", encoding: .utf8)
        let process = try #require(Int32(text.trimmingCharacters(in: .whitespacesAndNewlines)))
        #expect(kill(process, 0) == -1)
    }

    @Test("a helper's name cannot lead out of the PATH")
    func helperName() async throws {
        let environment = try helper("exit 0", config: #"{"credsStore":"../test"}"#)
        let store: DockerConfigCredentials = .dockerConfig(environment: environment)
        #expect(await failure { try await store.credentials(forRegistry: "a.io") }?.code == .invalidConfiguration)
    }
}
