import EXT4
import Foundation
import Glibc
import Testing

@testable import RootFS

/// Archives of other projects' tests, such as Go's archive/tar and CPython's tarfile have: `SNAPWF_TAR_CORPUS` names a
/// directory of them. None is stored here.
@Suite("Archives of other projects' tests")
struct CorpusTests {
    private static let directory = ProcessInfo.processInfo.environment["SNAPWF_TAR_CORPUS"]

    private static var archives: [String] {
        guard let directory, let found = FileManager.default.enumerator(atPath: directory) else { return [] }
        return found.compactMap { $0 as? String }.filter { $0.hasSuffix(".tar") }.sorted()
    }

    @Test("what is no error is what GNU tar extracts", .enabled(if: directory != nil), arguments: archives)
    func archive(name: String) async throws {
        let bytes = try readFile(Array("\(Self.directory ?? "")/\(name)".utf8))
        let outcome = try await inPrivateMounts {
            try withTemporaryDirectory { directory in
                let (image, extracted) = (directory / "image".utf8, directory / "extracted".utf8)
                try write(bytes, to: directory / "archive".utf8)
                do {
                    // With a diffID, because many of them have no end mark.
                    try convert([Layer(bytes)], to: image)
                } catch let error as RootFSError {
                    return "\(error)"
                }
                #expect(try complaints(about: image) == [])
                try withPath(extracted) { _ = try check(mkdir($0, 0o755), "mkdir") }
                let result = try run(
                    ["tar", "--numeric-owner", "-xpf", "../archive", "--xattrs", "--xattrs-include=*", "--acls"],
                    directory: extracted)
                // Tens of gigabytes of holes are not worth hashing.
                let listed = try run(["du", "-s", "--apparent-size", "-B1"], directory: extracted).output
                guard Int(listed.prefix { $0 != "\t" }) ?? 0 < 1 << 30 else { return "too large to compare" }
                guard result.status == 0 else { return "an image, but GNU tar says: \(result.output)" }
                var (expected, found) = try (TreeSnapshot(extracted), inspect(image, in: directory))
                for name in ["", "proc", "sys", "dev", "run", "tmp"] {
                    expected.nodes[Array(name.utf8)] = nil
                    found.nodes[Array(name.utf8)] = nil
                }
                // Where the archive does not name a directory, GNU tar takes the time of day.
                for (path, node) in found.nodes where node.seconds == Oracle.timestamp && node.mode & S_IFMT == S_IFDIR
                {
                    expected.nodes[path]?.seconds = node.seconds
                    expected.nodes[path]?.nanoseconds = node.nanoseconds
                }
                let differences = found.withoutHoles.differences(from: expected.withoutHoles)
                #expect(differences == [], "\(name)")
                return differences.isEmpty ? "the same \(found.nodes.count) paths" : "differs"
            }
        }
        print("\(name): \(outcome)")
    }
}
