import Connect
import Foundation
import SandboxAPI
import Testing

@Suite("files of the host")
struct EscapeTests {
    @Test("are neither read nor changed through links and paths that lead out of the sandbox")
    func links() async throws {
        try await ServedSandboxes.withSandbox { served, sandbox in
            let secret = served.directory + "/secret"
            try Data("the host's".utf8).write(to: URL(fileURLWithPath: secret))
            let script = """
                cd /work; ln -s "$1/secret" link; ln -s "$1" dir; ln -s / root; ln -s /proc/1/root/"$1" proc
                ln -s ../../../../../../../../"$1"/secret up
                """
            #expect(try await served.shell(script, [served.directory], in: sandbox).exitCode == 0)
            let ways = [
                "/work/link", "/work/dir/secret", "/work/root\(secret)", "/work/proc/secret", "/work/up", secret,
                "/work/../../../../../..\(secret)", "/proc/1/root\(secret)", "/proc/self/cwd/../..\(secret)",
            ]
            for way in ways {
                await expectError(.notFound) { try await served.read(way, in: sandbox) }
                await expectError(.notFound) { try await served.stat(way, in: sandbox, follow: true) }
                await expectError(.notFound) {
                    try await served.call(SandboxMethods.copyFile) {
                        $0.sandbox = sandbox
                        $0.fromPath = way
                        $0.toPath = "/work/stolen"
                    }
                }
            }
            for way in ways {
                // Some of these succeed, inside: what counts is the host.
                for change in [
                    { _ = try await served.write(way, [1], in: sandbox) { $0.createDirectories = true } },
                    { try await served.mkdir(way + "/x", in: sandbox) { $0.recursive = true } },
                    { try await served.remove(way, in: sandbox) { $0.recursive = true } },
                    {
                        _ = try await served.call(SandboxMethods.chmod) {
                            $0.sandbox = sandbox
                            $0.path = way
                            $0.mode = 0o777
                        }
                    },
                ] as [() async throws -> Void] {
                    do { try await change() } catch is ConnectError {}
                }
            }
            #expect(try Data(contentsOf: URL(fileURLWithPath: secret)) == Data("the host's".utf8))
            let names = try FileManager.default.contentsOfDirectory(atPath: served.directory).sorted()
            #expect(names == ["api.sock", "sandboxes", "secret"])
            let attributes = try FileManager.default.attributesOfItem(atPath: secret)
            #expect((attributes[.posixPermissions] as? Int).map { $0 & 0o777 } == 0o644)
        }
    }
}
