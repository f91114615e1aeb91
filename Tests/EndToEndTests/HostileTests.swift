import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// Tables that are too long for a test each: scripts go through them, and say what they counted.
    @Suite("What every verb does, wherever it is", .serialized)
    struct Hostile {
        @Test(
            "every verb in every hostile environment ends by itself, says what is wrong, and leaves standard output clean"
        )
        func environments() async throws {
            try await pass("hostile", minimum: 1400, of: "combinations")
        }

        @Test("every document that is printed is what its schema says, and nothing else")
        func documents() async throws {
            let registry = try await RealRegistry(.anonymous)
            defer { registry.stop() }
            try await pass("documents", registry.host, minimum: 60, of: "documents")
        }

        @Test("every documented error can happen, has its code and its exit code, and ends with what to type next")
        func errors() async throws {
            try await pass("errors", minimum: 45, of: "errors")
        }

        /// Runs a script; its last line counts, the others are failures.
        private func pass(_ script: String, _ arguments: String..., minimum: Int, of counted: String) async throws {
            if let missing = Peer.whyNot { Issue.record("\(missing)") }
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let child = try Child(Peer.python, [Programs.fixture(script), Programs.snapwf, image] + arguments)
            let finished = try await child.wait(.seconds(840))
            let lines = finished.output.split(separator: "\n")
            for line in lines.dropLast() { Issue.record("\(line)") }
            #expect(finished.status == 0, "\(finished.errors)")
            let count = try JSONSerialization.jsonObject(with: Data((lines.last ?? "{}").utf8)) as? [String: Any]
            #expect(count?[counted] as? Int ?? 0 >= minimum, "\(lines.last ?? "it said nothing")")
            print("\(script): \(lines.last ?? "")")
        }
    }
}
