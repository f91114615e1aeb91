import Foundation
import Glibc
import Testing

extension EndToEnd {
    @Suite("Output that goes nowhere, and output that two want to write")
    struct Output {
        /// A full disk, and no standard output at all: the first file that is opened would take its number.
        private static let nowhere = [">/dev/full", ">&-"]

        @Test("a result that cannot be written is a failure, and says that the snapshot is made", arguments: nowhere)
        func untoldResult(_ redirection: String) async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let installation = try Installation()
            for arguments in [["run", image], ["run", "-q", image], ["run", "--json", image]] {
                let untold = try await shell(redirection, Programs.snapwf, arguments, installation)
                #expect(untold.status == 1, "\(untold.everything)")
                #expect(untold.errors.contains("is made, but the result was not told"), "\(untold.everything)")
                #expect(untold.errors.contains("standard output"), "\(untold.everything)")
            }
            try await installation.expectNothingLeft("after \(redirection)")
            let told = try await installation.snapwf("run", image)
            #expect(told.status == 0 && told.output.contains("(cached)"), "\(told.everything)")
            for arguments in [["ls"], ["ls", "--json"], ["show"], ["doctor"], ["resume", "@last"]] {
                let untold = try await shell(redirection, Programs.snapwf, arguments, installation)
                #expect(untold.status == 1, "\(arguments): \(untold.everything)")
                #expect(untold.errors.contains("standard output"), "\(arguments): \(untold.everything)")
            }
        }

        @Test("the helper's result, too; and the file is whole", arguments: nowhere)
        func untoldPull(_ redirection: String) async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let installation = try Installation()
            let (told, untold) = (installation.home + "/told", installation.home + "/untold")
            try await tool(Programs.snapshot, "pull", image, "--output", told)
            for progress in ["plain", "json"] {
                let pulled = try await shell(
                    redirection, Programs.snapshot, ["pull", image, "--output", untold, "--progress", progress],
                    installation)
                #expect(pulled.status == 1, "\(pulled.everything)")
                #expect(pulled.errors.contains("is done and whole"), "\(pulled.everything)")
                try await tool("cmp", told, untold)
                try FileManager.default.removeItem(atPath: untold)
            }
            let silent = try await shell(
                redirection, Programs.snapshot, ["pull", image, "--output", untold, "--progress", "none"], installation)
            #expect(silent.status == 0, "nothing was to be written: \(silent.everything)")
        }

        @Test("a file that another process is writing is left to it; the snapshot is made all the same")
        func twoWriters() async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let installation = try Installation()
            let path = installation.home + "/wanted.ext4"
            let other = open(path + ".partial", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
            defer { close(other) }
            try #require(other >= 0 && write(other, "half", 4) == 4 && flock(other, LOCK_EX) == 0)

            let pulled = try await Child(Programs.snapshot, ["pull", image, "--output", path]).wait()
            let run = try await installation.snapwf("run", "-o", path, image)
            for refused in [pulled, run] {
                #expect(refused.status == 1, "\(refused.everything)")
                #expect(refused.errors.contains("another process is writing"), "\(refused.everything)")
            }
            let partial = try String(contentsOfFile: path + ".partial", encoding: .utf8)
            #expect(partial == "half", "what another process writes was touched")

            flock(other, LOCK_UN)
            let exported = try await installation.snapwf("run", "-o", path, image)
            #expect(exported.status == 0 && exported.output.contains("(cached)"), "\(exported.everything)")
            let names = try FileManager.default.contentsOfDirectory(atPath: installation.home)
            #expect(names.filter { $0.hasPrefix("wanted") } == ["wanted.ext4"])
        }

        private func shell(
            _ redirection: String, _ program: String, _ arguments: [String], _ installation: Installation
        ) async throws -> Finished {
            try await Child(
                "/bin/sh", ["-c", "exec \"$0\" \"$@\" \(redirection)", program] + arguments,
                environment: ["SNAPWF_HOME": installation.home]
            ).wait()
        }
    }
}
