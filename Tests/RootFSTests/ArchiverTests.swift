import Foundation
import Glibc
import Testing

@testable import RootFS

/// Archives of the tools that people make layers with, against the tree that they were made of.
@Suite("Archives of GNU tar and libarchive")
struct ArchiverTests {
    /// A tree of about everything that the formats can hold.
    ///
    /// - Parameter isFractionBefore1970: libarchive writes such times a second off.
    private static func makeTree(_ root: Path, isFractionBefore1970: Bool) throws {
        let script = """
            set -e
            mkdir -p dir/sub empty "$(printf 'long%.0s' $(seq 60))"
            printf hello > dir/file; ln dir/file dir/hard; ln -s file dir/soft; ln -s /absolute/target absolute
            touch "$(printf 'long%.0s' $(seq 60))/$(printf 'deep%.0s' $(seq 50))"
            ln -s "$(printf 'target/%.0s' $(seq 50))" longlink
            mkfifo pipe; mknod null c 1 3; mknod disk b 8 1
            chmod 4755 dir/file; chmod 1777 empty; chmod 000 absolute 2>/dev/null || true
            chown 12345:23456 dir/sub; chown -h 1000:1000 dir/soft
            printf 'begin' > sparse; dd if=/dev/urandom of=sparse bs=4096 count=3 seek=100 conv=notrunc status=none
            dd if=/dev/urandom of=sparse bs=4096 count=1 seek=900 conv=notrunc status=none; truncate -s 8M sparse
            truncate -s 3M hole
            for i in $(seq 1 60); do printf x | dd of=many bs=1 seek=$((i * 65536)) conv=notrunc status=none; done
            head -c 300000 /dev/urandom > data
            printf x > "$(printf '\\377\\200 name')"
            find . -exec touch -h -d '2021-05-06 07:08:09.123456789' {} +
            touch -d "$OLD" data; touch -d '2200-01-01' hole
            """
        let result = try run(
            [
                "env", "OLD=1955-01-01 00:00:00\(isFractionBefore1970 ? ".5" : "")", "bash", "-c", script,
            ], directory: root)
        #expect(result.status == 0, "\(result.output)")
        try setXattr(root / "dir/file".utf8, "user.note", Array("value\0\n".utf8))
        try setXattr(
            root / "data".utf8, "security.capability", [1, 0, 0, 2] + [0, 4, 0, 0] + [UInt8](repeating: 0, count: 12))
        try setXattr(root / "dir".utf8, "trusted.key", [1, 2, 3])
        let acl = try run(
            [
                "bash", "-c",
                """
                setfacl -m u:54321:rw,g:54322:r dir/file && setfacl -d -m u:54321:rwx,g::rx dir/sub
                touch -d '2021-05-06 07:08:09.123456789' dir dir/sub
                """,
            ], directory: root)
        #expect(acl.status == 0, "\(acl.output)")
    }

    private struct Tool: Sendable, CustomTestStringConvertible {
        var command: String
        var compression = Compression.none
        /// What the format cannot hold.
        var hasXattrs = true
        var hasFractions = true
        var testDescription: String { command }
    }

    private static let gnu = "tar --numeric-owner"
    private static let posix = gnu + " --format=posix --xattrs --xattrs-include='*' --acls --sparse"
    private static let tools = [
        Tool(command: posix + " --sparse-version=1.0 -c ."),
        Tool(command: posix + " --sparse-version=0.1 -z -c .", compression: .gzip),
        Tool(command: posix + " --sparse-version=0.0 --zstd -c .", compression: .zstd),
        Tool(command: gnu + " --format=gnu --sparse -c .", hasXattrs: false, hasFractions: false),
        Tool(command: "bsdtar --format=pax -z -c .", compression: .gzip),
        Tool(command: "bsdtar --format=pax --zstd -c .", compression: .zstd),
    ]

    @Test("an image is the tree that the archive was made of", arguments: tools)
    private func roundTrip(tool: Tool) async throws {
        let differences = try await inPrivateMounts {
            try withTemporaryDirectory { directory in
                let tree = directory / "tree".utf8
                try withPath(tree) { _ = try check(mkdir($0, 0o755), "mkdir") }
                try Self.makeTree(tree, isFractionBefore1970: tool.command.hasPrefix("tar"))
                let made = try run(
                    ["bash", "-c", "\(tool.command.replacing(" -c .", with: " -c -f ../archive ."))"], directory: tree)
                #expect(made.status == 0, "\(made.output)")
                let archive = try contents(directory / "archive".utf8)
                let image = directory / "image".utf8
                let summary = try convert([Layer(stored: archive, tool.compression)], to: image)
                #expect(summary.warnings == 0)
                var expected = try TreeSnapshot(tree)
                for name in ["proc", "sys", "dev", "run", "tmp"] { expected.nodes[Array(name.utf8)] = nil }
                for path in expected.nodes.keys {
                    if !tool.hasXattrs { expected.nodes[path]?.xattrs = [:] }
                    if !tool.hasFractions { expected.nodes[path]?.nanoseconds = 0 }
                }
                var found = try inspect(image, in: directory)
                for name in ["proc", "sys", "dev", "run", "tmp"] { found.nodes[Array(name.utf8)] = nil }
                let mountPoint = directory / "holes".utf8
                try withPath(mountPoint) { _ = try check(mkdir($0, 0o755), "mkdir") }
                try withImage(image, at: mountPoint) {
                    // In units of 512 bytes; the files are of 8 MiB, 3 MiB and 3.9 MB. 60 extents need a block.
                    for (name, most) in [("sparse", 5 * 8), ("hole", 0), ("many", 61 * 8)] {
                        let blocks = status(mountPoint / name.utf8)?.st_blocks ?? -1
                        #expect((0...most).contains(Int(blocks)), "\(name) takes \(blocks)")
                    }
                }
                return found.withoutHoles.differences(from: expected.withoutHoles)
            }
        }
        #expect(differences == [])
    }

    private static let python = """
        python3 -c '
        import os, tarfile
        archive = tarfile.open("../archive", "w", format=tarfile.%_FORMAT)
        for path in ["."] + [os.path.join(d, n) for d, ds, fs in os.walk(".") for n in ds + fs]:
            try:
                archive.add(path, recursive=False)
            except ValueError:
                pass  # The name is too long.
        archive.close()
        '
        """
    /// What some of them cannot store they leave out.
    private static let writers = [
        posix + " -cf ../archive .", gnu + " --format=gnu --sparse -cf ../archive .",
        gnu + " --format=oldgnu --sparse -cf ../archive .", gnu + " --format=oldgnu -cf ../archive .",
        gnu + " --format=ustar -cf ../archive .", gnu + " --format=v7 -cf ../archive .",
        gnu + " --format=pax --pax-option=globexthdr.name=g,comment=x --blocking-factor=1 -cf ../archive .",
        "bsdtar --format=pax -cf ../archive .", "bsdtar --format=gnutar -cf ../archive .",
        "bsdtar --format=ustar -cf ../archive .", "bsdtar --format=v7tar -cf ../archive .",
        python.replacing("%", with: "USTAR"), python.replacing("%", with: "GNU"), python.replacing("%", with: "PAX"),
        "busybox tar -cf ../archive .", "find . | cpio --quiet -o -H ustar > ../archive",
        "find . | cpio --quiet -o -H tar > ../archive", "find . | bsdcpio --quiet -o -H pax > ../archive",
    ]

    @Test("an image is what GNU tar extracts of the same archive", arguments: writers)
    func extraction(writer: String) async throws {
        let (differences, count) = try await inPrivateMounts {
            try withTemporaryDirectory { directory in
                let (tree, extracted) = (directory / "tree".utf8, directory / "extracted".utf8)
                for path in [tree, extracted] { try withPath(path) { _ = try check(mkdir($0, 0o755), "mkdir") } }
                try Self.makeTree(tree, isFractionBefore1970: false)
                try run(["bash", "-c", writer], directory: tree)
                let archive = try contents(directory / "archive".utf8)
                let result = try run(
                    [
                        "tar", "--numeric-owner", "-xpf", "../archive", "--xattrs", "--xattrs-include=*", "--acls",
                        // A hard link that comes later would change a directory's time.
                        "--delay-directory-restore",
                    ], directory: extracted)
                #expect(result.status == 0, "\(result.output)")
                try convert([Layer(stored: archive, .none)], to: directory / "image".utf8)
                var (expected, found) = try (
                    TreeSnapshot(extracted), inspect(directory / "image".utf8, in: directory)
                )
                for name in ["proc", "sys", "dev", "run", "tmp"] {
                    expected.nodes[Array(name.utf8)] = nil
                    found.nodes[Array(name.utf8)] = nil
                }
                return (found.withoutHoles.differences(from: expected.withoutHoles), found.nodes.count)
            }
        }
        #expect(differences == [])
        #expect(count >= 12)
    }
}
