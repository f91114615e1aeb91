import Connect
import Sandbox
import SandboxAPI
import SwiftProtobuf
import Testing

/// Whose tools the scripts find in the sandbox.
enum Tools: String, CaseIterable, CustomTestStringConvertible, Sendable {
    case coreutils
    case busybox

    var testDescription: String { rawValue }

    func withSandbox(_ body: (ServedSandboxes, SandboxRef) async throws -> Void) async throws {
        try await ServedSandboxes.withSandbox(
            wrap: { self == .busybox ? BusyboxTools(inner: $0) as any SandboxProvider : $0 }, body)
    }
}

@Suite("file calls")
struct FileCallTests {
    /// Names that a careless script takes for something else.
    static let hostileNames = [
        "plain", "a b", " lead", "trail ", "new\nline", "end\n", "-rf", "--", "*", "?", "[a]", "$HOME", "`id`", "a'b",
        "a\"b",
        "\\n", "\\", "ä", "…", ".hidden", "..odd", ".[!.]*", "tab\tx", "a;b", "%s", "File exists",
        "x: Permission denied",
    ]

    @Test("make, describe, list and remove whatever its name is", arguments: Tools.allCases)
    func names(_ tools: Tools) async throws {
        try await tools.withSandbox { served, sandbox in
            for name in Self.hostileNames {
                let path = "/work/d/\(name)"
                #expect(
                    try await served.write(path, Array(name.utf8), in: sandbox) { $0.createDirectories = true }
                        == name.utf8.count)
                #expect(try await served.read(path, in: sandbox) == Array(name.utf8))
                let status = try await served.stat(path, in: sandbox)
                #expect(status.path == path && status.size == name.utf8.count && status.type == .file)
            }
            let listing = try await served.call(SandboxMethods.readDir) {
                $0.sandbox = sandbox
                $0.path = "/work/d/"
                $0.withFileTypes = true
            }
            #expect(Set(listing.entries.map(\.name)) == Set(Self.hostileNames))
            #expect(listing.entries.count == Self.hostileNames.count)
            #expect(listing.entries.allSatisfy { $0.type == .file })
            for name in Self.hostileNames {
                let copied = "/work/d/c-\(name)"
                _ = try await served.call(SandboxMethods.copyFile) {
                    $0.sandbox = sandbox
                    $0.fromPath = "/work/d/\(name)"
                    $0.toPath = copied
                }
                _ = try await served.call(SandboxMethods.rename) {
                    $0.sandbox = sandbox
                    $0.fromPath = copied
                    $0.toPath = "/work/d/\(name)"
                }
                _ = try await served.call(SandboxMethods.symlink) {
                    $0.sandbox = sandbox
                    $0.target = name
                    $0.linkPath = copied
                }
                let target = try await served.call(SandboxMethods.readlink) {
                    $0.sandbox = sandbox
                    $0.path = copied
                }
                #expect(target.target == name)
                for path in [copied, "/work/d/\(name)"] { try await served.remove(path, in: sandbox) }
                let missing = await expectError(.notFound) { try await served.stat("/work/d/\(name)", in: sandbox) }
                #expect(missing?.fileDetail?.syscall == "stat")
            }
            #expect(try await served.shell("ls -A /work/d | wc -l", in: sandbox).text.contains("0\n"))
        }
    }

    @Test("tell every type of file, of the link or of what it leads to", arguments: Tools.allCases)
    func types(_ tools: Tools) async throws {
        try await tools.withSandbox { served, sandbox in
            let script = """
                cd /work; echo 12345 > file; mkdir dir; ln -s file link; ln -s gone dangling; mkfifo fifo
                chmod 4711 file; touch -d '2001-02-03 04:05:06 UTC' file || touch -t 200102030405.06 file
                """
            #expect(try await served.shell(script, in: sandbox).exitCode == 0)
            let file = try await served.stat("/work/file", in: sandbox)
            #expect(file.type == .file && file.size == 6 && file.mode == 0o4711)
            #expect(file.mtimeUnixSeconds == 981_173_106)
            #expect(file.uname == "root" && file.gname == "root")
            #expect(try await served.stat("/work/dir", in: sandbox).type == .directory)
            #expect(try await served.stat("/work/link", in: sandbox).type == .symlink)
            #expect(try await served.stat("/work/link", in: sandbox, follow: true).type == .file)
            #expect(try await served.stat("/work/fifo", in: sandbox).type == .fifo)
            #expect(try await served.stat("/dev/null", in: sandbox).type == .characterDevice)
            #expect(try await served.stat("/work/dangling", in: sandbox).type == .symlink)
            await expectError(.notFound) { try await served.stat("/work/dangling", in: sandbox, follow: true) }
            let listing = try await served.call(SandboxMethods.readDir) {
                $0.sandbox = sandbox
                $0.path = "/work"
                $0.withFileTypes = true
            }
            #expect(listing.entries.map(\.name) == ["dangling", "dir", "fifo", "file", "link"])
            #expect(listing.entries.map(\.type) == [.symlink, .directory, .fifo, .file, .symlink])
            let plain = try await served.call(SandboxMethods.readDir) {
                $0.sandbox = sandbox
                $0.path = "/work"
            }
            #expect(plain.entries.allSatisfy { $0.type == .unspecified })
        }
    }

    @Test("end with the code, the call and the path of what was wrong", arguments: Tools.allCases)
    func errors(_ tools: Tools) async throws {
        try await tools.withSandbox { (served, sandbox) async throws in
            let script = "cd /work; echo x > file; mkdir dir full; echo x > full/x; ln -s loop loop; mkfifo fifo"
            #expect(try await served.shell(script, in: sandbox).exitCode == 0)
            func fails(
                _ code: ConnectError.Code, _ call: String, _ path: String,
                sourceLocation: SourceLocation = #_sourceLocation,
                _ body: () async throws -> some Any
            ) async {
                let error = await expectError(code, sourceLocation: sourceLocation, body)
                #expect(error?.fileDetail?.syscall == call, sourceLocation: sourceLocation)
                #expect(error?.fileDetail?.path == path, sourceLocation: sourceLocation)
                #expect(error?.fileDetail?.message.isEmpty == false, sourceLocation: sourceLocation)
            }
            await fails(.notFound, "stat", "/work/none") { try await served.stat("/work/none", in: sandbox) }
            await fails(.failedPrecondition, "stat", "/work/file/x") {
                try await served.stat("/work/file/x", in: sandbox)
            }
            await fails(.invalidArgument, "stat", "/work/loop") {
                try await served.stat("/work/loop", in: sandbox, follow: true)
            }
            let long = "/work/" + String(repeating: "n", count: 256)
            await fails(.invalidArgument, "stat", long) { try await served.stat(long, in: sandbox) }
            await fails(.alreadyExists, "mkdir", "/work/dir") { try await served.mkdir("/work/dir", in: sandbox) }
            await fails(.notFound, "mkdir", "/work/a/b") { try await served.mkdir("/work/a/b", in: sandbox) }
            await fails(.permissionDenied, "mkdir", "/usr/x") { try await served.mkdir("/usr/x", in: sandbox) }
            await fails(.failedPrecondition, "readdir", "/work/file") {
                try await served.call(SandboxMethods.readDir) {
                    $0.sandbox = sandbox
                    $0.path = "/work/file"
                }
            }
            await fails(.notFound, "remove", "/work/none") { try await served.remove("/work/none", in: sandbox) }
            await fails(.failedPrecondition, "remove", "/work/full") {
                try await served.remove("/work/full", in: sandbox)
            }
            await fails(.notFound, "read", "/work/none") { try await served.read("/work/none", in: sandbox) }
            await fails(.failedPrecondition, "read", "/work/dir") { try await served.read("/work/dir", in: sandbox) }
            await fails(.invalidArgument, "read", "/work/fifo") { try await served.read("/work/fifo", in: sandbox) }
            await fails(.failedPrecondition, "write", "/work/dir") {
                try await served.write("/work/dir", [1], in: sandbox)
            }
            await fails(.notFound, "write", "/work/a/b") { try await served.write("/work/a/b", [1], in: sandbox) }
            await fails(.invalidArgument, "write", "/work/fifo") {
                try await served.write("/work/fifo", [1], in: sandbox)
            }
            await fails(.permissionDenied, "write", "/usr/x") { try await served.write("/usr/x", [1], in: sandbox) }
            for (code, from, to) in [
                (ConnectError.Code.failedPrecondition, "file", "dir"), (.failedPrecondition, "dir", "file"),
                (.failedPrecondition, "dir", "full"), (.invalidArgument, "dir", "dir/x"), (.notFound, "none", "x"),
            ] {
                await fails(code, "rename", "/work/\(from)") {
                    try await served.rename("/work/\(from)", "/work/\(to)", in: sandbox)
                }
            }
            await fails(.alreadyExists, "symlink", "/work/file") {
                try await served.call(SandboxMethods.symlink) {
                    $0.sandbox = sandbox
                    $0.target = "x"
                    $0.linkPath = "/work/file"
                }
            }
            await fails(.invalidArgument, "readlink", "/work/file") {
                try await served.call(SandboxMethods.readlink) {
                    $0.sandbox = sandbox
                    $0.path = "/work/file"
                }
            }
            #expect(try await served.shell("ls /work /work/full", in: sandbox).text.contains("x\n"))
        }
    }

    @Test("rename as rename(2) does", arguments: Tools.allCases)
    func rename(_ tools: Tools) async throws {
        try await tools.withSandbox { served, sandbox in
            let script = """
                cd /work; echo a > a; echo b > b; mkdir d e target; echo d > d/x; ln -s target link; ln a hard
                """
            #expect(try await served.shell(script, in: sandbox).exitCode == 0)
            // Over a file; a directory over an empty one; onto itself; over a link to a directory, not into it.
            for (from, to) in [("b", "c"), ("c", "a"), ("d", "e"), ("e", "e"), ("target/..//e", "e"), ("a", "link")] {
                try await served.rename("/work/\(from)", "/work/\(to)", in: sandbox)
            }
            let found = try await served.shell("cd /work; find . | LC_ALL=C sort; cat link e/x hard", in: sandbox)
            #expect(found.text == ".\n./e\n./e/x\n./hard\n./link\n./target\nb\nd\na\n")
        }
    }

    @Test("change size, mode and times, and say what may be done", arguments: Tools.allCases)
    func attributes(_ tools: Tools) async throws {
        try await tools.withSandbox { served, sandbox in
            _ = try await served.write("/work/f", Array("123456".utf8), in: sandbox)
            #expect(try await served.stat("/work/f", in: sandbox).mode == 0o644)
            for size in [3, 5, 0] {
                _ = try await served.call(SandboxMethods.truncate) {
                    $0.sandbox = sandbox
                    $0.path = "/work/f"
                    $0.size = Int64(size)
                }
                #expect(try await served.stat("/work/f", in: sandbox).size == Int64(size))
            }
            try await served.mkdir("/work/m/n/o", in: sandbox) {
                $0.recursive = true
                $0.mode = 0o2700
            }
            try await served.mkdir("/work/m/n/o", in: sandbox) { $0.recursive = true }
            #expect(try await served.stat("/work/m/n/o", in: sandbox).mode == 0o2700)
            for (path, mode) in [("/work/m/n/o", 0o755), ("/work/f", 0o4755), ("/work/f", 0o400)] as [(String, UInt32)]
            {
                _ = try await served.call(SandboxMethods.chmod) {
                    $0.sandbox = sandbox
                    $0.path = path
                    $0.mode = mode
                }
                #expect(try await served.stat(path, in: sandbox).mode == mode)
            }
            _ = try await served.call(SandboxMethods.chown) {
                $0.sandbox = sandbox
                $0.path = "/work/f"
                $0.uid = 0
                $0.gid = 0
            }
            func access(_ path: String, _ mode: UInt32?) async throws -> AccessResponse {
                try await served.call(SandboxMethods.access) {
                    $0.sandbox = sandbox
                    $0.path = path
                    if let mode { $0.mode = mode }
                }
            }
            _ = try await access("/work/f", nil)
            _ = try await access("/work/f", 4)
            _ = try await access("/usr/bin/env", 5)
            await expectError(.permissionDenied) { try await access("/work/f", 1) }
            await expectError(.permissionDenied) { try await access("/usr/bin/env", 2) }
            await expectError(.notFound) { try await access("/work/none", nil) }
            _ = try await served.call(SandboxMethods.copyFile) {
                $0.sandbox = sandbox
                $0.fromPath = "/work/f"
                $0.toPath = "/work/g"
                $0.preserveMetadata = true
            }
            #expect(try await served.stat("/work/g", in: sandbox).mode == 0o400)
        }
    }

    @Test("remove trees only when told to, and never what a link leads to", arguments: Tools.allCases)
    func remove(_ tools: Tools) async throws {
        try await tools.withSandbox { served, sandbox in
            let script =
                "cd /work; mkdir -p t/a/b keep; echo x > keep/x; ln -s ../keep t/link; ln -s keep link; mkdir empty"
            #expect(try await served.shell(script, in: sandbox).exitCode == 0)
            try await served.remove("/work/empty", in: sandbox)
            try await served.remove("/work/link/", in: sandbox) { $0.recursive = true }
            try await served.remove("/work/t", in: sandbox) { $0.recursive = true }
            try await served.remove("/work/t", in: sandbox) { $0.ignoreMissing = true }
            #expect(
                try await served.shell("cd /work; find . | LC_ALL=C sort", in: sandbox).text == ".\n./keep\n./keep/x\n")
            await expectError(.notFound) {
                try await served.remove("/work/keep", in: .id("sb-0123456789abcdef0123")) { $0.ignoreMissing = true }
            }
        }
    }

    @Test("show names that are not UTF-8, and refuse a link's target that is not", arguments: Tools.allCases)
    func bytes(_ tools: Tools) async throws {
        try await tools.withSandbox { served, sandbox in
            let script = "cd /work; touch \"$(printf 'a\\377b')\" ok; ln -s \"$(printf 't\\377')\" link"
            #expect(try await served.shell(script, in: sandbox).exitCode == 0)
            let listing = try await served.call(SandboxMethods.readDir) {
                $0.sandbox = sandbox
                $0.path = "/work"
            }
            #expect(listing.entries.map(\.name).sorted() == ["a\u{FFFD}b", "link", "ok"])
            await expectError(.failedPrecondition) {
                try await served.call(SandboxMethods.readlink) {
                    $0.sandbox = sandbox
                    $0.path = "/work/link"
                }
            }
            try await served.mkdir("/work/sub", in: sandbox)
            #expect(try await served.shell("mv /work/a* /work/sub/", in: sandbox).exitCode == 0)
            try await served.remove("/work/sub", in: sandbox) { $0.recursive = true }
        }
    }

    @Test("keep an old file's mode and links, set the mode before the bytes, and append", arguments: Tools.allCases)
    func writing(_ tools: Tools) async throws {
        try await tools.withSandbox { served, sandbox in
            #expect(
                try await served.shell("cd /work; echo old > f; chmod 600 f; ln f hard; ln -s f soft", in: sandbox)
                    .exitCode == 0)
            _ = try await served.write("/work/soft", Array("new".utf8), in: sandbox)
            #expect(try await served.read("/work/hard", in: sandbox) == Array("new".utf8))
            #expect(try await served.stat("/work/f", in: sandbox).mode == 0o600)
            _ = try await served.write("/work/f", Array("er".utf8), in: sandbox) { $0.append = true }
            #expect(try await served.read("/work/f", in: sandbox) == Array("newer".utf8))
            #expect(try await served.write("/work/secret", [1], in: sandbox) { $0.mode = 0o400 } == 1)
            #expect(try await served.stat("/work/secret", in: sandbox).mode == 0o400)
            #expect(try await served.write("/work/f", [], in: sandbox) == 0)
            #expect(try await served.read("/work/f", in: sandbox).isEmpty)
        }
    }

    @Test("write whole files through a provider whose commands have no input")
    func inputless() async throws {
        try await ServedSandboxes.withSandbox(wrap: { InputlessProvider(inner: $0) }) { served, sandbox in
            let bytes = (0..<5_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            let count = try await served.write("/work/a/b", bytes, in: sandbox) {
                $0.createDirectories = true
                $0.mode = 0o600
            }
            #expect(count == 5_000_000)
            #expect(try await served.read("/work/a/b", in: sandbox) == bytes)
            #expect(try await served.stat("/work/a/b", in: sandbox).mode == 0o600)
            #expect(try await served.write("/work/empty", [], in: sandbox) == 0)
            #expect(try await served.stat("/work/empty", in: sandbox).mode == 0o644)
            await expectError(.unimplemented) {
                try await served.write("/work/empty", [1], in: sandbox) { $0.append = true }
            }
        }
    }

    @Test("name the field that is wrong")
    func fields() async throws {
        try await ServedSandboxes.withSandbox { served, sandbox in
            func field(
                _ name: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> some Any
            ) async {
                let error = await expectError(.invalidArgument, sourceLocation: sourceLocation, body)
                #expect(
                    error?.message.hasPrefix(name + ":") == true, "\(error?.message ?? "")",
                    sourceLocation: sourceLocation)
            }
            for path in ["", "x", "work/x", "/a\0b", "/" + String(repeating: "x/", count: 2048)] {
                await field("path") { try await served.stat(path, in: sandbox) }
            }
            for path in ["/", "//", "/work/.", "/work/.."] {
                await field("path") { try await served.remove(path, in: sandbox) }
            }
            await field("sandbox.id") { try await served.stat("/work", in: SandboxRef()) }
            await field("mode") { try await served.mkdir("/work/x", in: sandbox) { $0.mode = 0o10000 } }
            await field("from_path") { try await served.rename("x", "/work/x", in: sandbox) }
            await field("to_path") { try await served.rename("/work/x", "x", in: sandbox) }
            await field("init.path") { try await served.write("/work/x/", [1], in: sandbox) }
            await field("size") {
                try await served.call(SandboxMethods.truncate) {
                    $0.sandbox = sandbox
                    $0.path = "/work/x"
                    $0.size = -1
                }
            }
            await field("uid") {
                try await served.call(SandboxMethods.chown) {
                    $0.sandbox = sandbox
                    $0.path = "/work/x"
                }
            }
            await field("init") {
                try await served.client.clientStream(SandboxMethods.writeFile) { sink in
                    try await sink.send(WriteFileRequest.with { $0.data = .init([1]) })
                }
            }
        }
    }
}
