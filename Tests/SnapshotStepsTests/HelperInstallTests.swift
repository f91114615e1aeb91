import Foundation
import TestSupport
import Testing

@testable import SnapshotSteps

/// The scripts of a helper's download, run by this machine's shell.
struct HelperInstallTests {
    /// Tools that stand before the real ones in PATH. Each kills the whole script, and itself, when it is the one that
    /// `KILL_AT` names: before the real tool's work, or after it.
    private static let deadlyTool = """
        #!/bin/sh
        tool=${0##*/}
        PATH=${PATH#*:}
        [ "$KILL_AT" != "before $tool" ] || kill -KILL 0
        "$tool" "$@"
        code=$?
        [ "$KILL_AT" != "after $tool" ] || kill -KILL 0
        exit $code
        """
    private static let tools = ["head", "od", "sha256sum", "grep", "tar", "mktemp", "chmod", "mv", "rm"]

    private let directory: TemporaryDirectory
    private var came: String { directory.path + "/bin/snapshot.download-1-1" }
    private var helper: String { directory.path + "/bin/snapshot" }

    init() async throws {
        directory = try TemporaryDirectory()
        let script = """
            cd "$1" && mkdir -p bin tools release/lib
            printf '#!/bin/sh\\necho it starts\\n' > program
            cp program release/snapshot && tar -czf archive release
            : > release/snapshot && tar -czf hollow release
            printf '%s\\n' "$2" > tools/deadly && chmod 755 tools/deadly
            shift 2
            for tool; do ln -s deadly "tools/$tool"; done
            """
        try await Command.run("sh", ["-ec", script, "sh", directory.path, Self.deadlyTool] + Self.tools)
    }

    /// Installs what is at ``came``, in a process group of its own.
    ///
    /// - Returns: the exit code, 128 + n after signal n.
    private func install(killedAt point: String = "", checksums: [String] = []) async throws -> Int32 {
        let script = """
            PATH="$1:$PATH" KILL_AT=$2
            export PATH KILL_AT
            shift 2
            code=0
            setsid -w sh -c "$@" > /dev/null 2>&1 || code=$?
            echo "$code"
            """
        let arguments = ["-c", script, "sh", directory.path + "/tools", point, HelperDownload.installScript, "sh"]
        let output = try await Command.run("sh", arguments + [came, helper] + checksums)
        let code = String(decoding: output, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        return try #require(Int32(code))
    }

    private func offer(_ name: String) async throws {
        try await Command.run("cp", ["\(directory.path)/\(name)", came])
    }

    private func sum(of name: String) async throws -> String {
        let output = try await Command.run("sha256sum", ["\(directory.path)/\(name)"])
        return String(decoding: output.prefix(64), as: UTF8.self)
    }

    private func expectHelper() async throws {
        try await Command.run("cmp", [helper, directory.path + "/program"])
        #expect(String(decoding: try await Command.run(helper, []), as: UTF8.self) == "it starts\n")
    }

    @Test("killed at any tool, an installation is done, or can be done again", arguments: ["program", "archive"])
    func killedAnywhere(_ form: String) async throws {
        let checksum = try await sum(of: form)
        var kills = 0
        for point in Self.tools.flatMap({ ["before \($0)", "after \($0)"] }) {
            try await Command.run("rm", ["-rf", directory.path + "/bin"])
            try await Command.run("mkdir", [directory.path + "/bin"])
            try await offer(form)
            let code = try await install(killedAt: point, checksums: [checksum])
            if code == 128 + 9 { kills += 1 } else { #expect(code == 0, "\(form), \(point)") }
            // What the step asks before it fetches anything.
            if !FileManager.default.isExecutableFile(atPath: helper) {
                #expect(try await install(checksums: [checksum]) == 0, "\(form), \(point)")
            }
            try await expectHelper()
        }
        // Twice each of head, od, sha256sum, chmod, mv, rm; and of grep, tar, mktemp for an archive.
        #expect(kills == (form == "program" ? 12 : 18))
    }

    @Test("every checksum must hold, and a release document needs none")
    func checksums() async throws {
        let right = try await sum(of: "archive")
        let wrong = String(repeating: "0", count: 64)
        for checksums in [[wrong], [right, wrong], [wrong, right]] {
            try await offer("archive")
            #expect(try await install(checksums: checksums) == HelperDownload.wrongChecksum)
            #expect(!FileManager.default.fileExists(atPath: helper))
        }
        try directory.write(Array(#"{"ok":true}"#.utf8), to: "bin/snapshot.download-1-1")
        #expect(try await install(checksums: [wrong]) == HelperDownload.isDocument)
        try await offer("archive")
        #expect(try await install(checksums: [right, right]) == 0)
        try await expectHelper()
    }

    @Test("an archive whose snapshot is empty puts nothing in place")
    func hollow() async throws {
        try await offer("hollow")
        #expect(try await install() == HelperDownload.neither)
        #expect(!FileManager.default.fileExists(atPath: helper))
    }

    @Test("what was downloaded on the way is removed once the helper is in its place")
    func nothingLeft() async throws {
        try directory.write(Array("{}".utf8), to: "bin/snapshot.download-1-0")
        try await offer("archive")
        #expect(try await install(killedAt: "before mv") == 128 + 9)
        #expect(try await install() == 0)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path + "/bin") == ["snapshot"])
    }
}
