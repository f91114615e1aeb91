import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// What a person sees at a terminal: a real one, whose screen is looked at (Fixtures/at-a-terminal).
    @Suite(.serialized)
    struct AtATerminal {
        private func use(_ scenario: String, _ images: String..., in installation: Installation) async throws {
            let used = try await Child(
                Peer.python, [Programs.fixture("at-a-terminal"), scenario, Programs.snapwf] + images,
                environment: ["SNAPWF_HOME": installation.home, "DOCKER_CONFIG": installation.home + "/no-docker"]
            ).wait()
            #expect(used.status == 0, "\(scenario): \(used.everything)")
        }

        @Test(
            "progress is drawn and leaves nothing behind, at every width, through resizes, in colour only where it may be",
            arguments: ["progress", "narrow", "resize", "dumb", "colours"])
        func screen(_ scenario: String) async throws {
            let installation = try Installation()
            try await use(scenario, "oci:\(try await Images.shared.smallLayout()):latest", in: installation)
            try await installation.expectNothingLeft("after \(scenario)")
        }

        @Test("two images share one board")
        func many() async throws {
            let layout = try await Images.shared.smallLayout()
            let other = try makeTemporaryDirectory("other") + "/layout"
            try await tool("cp", "-r", layout, other)
            let installation = try Installation()
            try await use("many", "oci:\(layout):latest", "oci:\(other):latest", in: installation)
            try await installation.expectNothingLeft("after two images")
        }

        @Test("Ctrl-C and a terminal that goes away stop the run where it can go on", arguments: ["interrupt", "lost"])
        func stopped(_ scenario: String) async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            try await use(scenario, registry.reference, in: installation)
            try registry.letGo()
            let resumed = try await installation.snapwf("resume", "--all", "-q")
            #expect(resumed.status == 0 && resumed.output.hasPrefix("snap-"), "\(resumed.everything)")
            try await installation.expectNothingLeft("after \(scenario)")
        }

        @Test("every verb has a manual page that mandoc finds nothing to say about")
        func manual() async throws {
            let directory = try makeTemporaryDirectory("manual")
            let script = """
                set -e
                "$1" --experimental-dump-help | "$1" manual "$0"
                "$2" --experimental-dump-help | "$1" manual "$0"
                # Pages are looked for where it stands.
                cd "$0"
                mandoc -Tlint *.1
                """
            try await tool("sh", "-c", script, directory, Programs.snapwf, Programs.snapshot)
            let pages = try FileManager.default.contentsOfDirectory(atPath: directory)
            let help = try await tool(Programs.snapwf, "help").output
            let list = help.prefix(upTo: help.firstRange(of: "HELP TOPICS")?.lowerBound ?? help.endIndex)
            let verbs = list.matches(of: /\n  ([a-z]+)[, ]/).map { String($0.1) }
            #expect(verbs.count > 12)
            for verb in verbs { #expect(pages.contains("snapwf-\(verb).1"), "\(verb): \(pages)") }
            print("\(pages.count) manual pages")
        }
    }
}
