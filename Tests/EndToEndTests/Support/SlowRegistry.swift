import Foundation
import Testing

/// A registry on loopback that stops half way through each large blob for as long as it is told to.
///
/// So "in the middle of the pull" is a state that a test can enter and stay in, not a moment it must hit.
final class SlowRegistry: Sendable {
    private let child: Child
    private let directory: String
    let reference: String

    init(layout: String, holding: Bool = true) async throws {
        directory = try makeTemporaryDirectory("registry")
        if holding { try Data().write(to: URL(fileURLWithPath: directory + "/hold")) }
        let script = #"exec "$0" "$1" "$2/hold" "$2/log" > "$2/port""#
        child = try Child("/bin/sh", ["-c", script, Programs.fixture("slow-registry"), layout, directory])
        let portFile = directory + "/port"
        var port = ""
        try await eventually("the registry listens") {
            port = (try? String(contentsOfFile: portFile, encoding: .utf8)) ?? ""
            return port.hasSuffix("\n")
        }
        reference = "127.0.0.1:\(port.dropLast())/test/image:latest"
    }

    deinit {
        child.signal(SIGKILL)
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// Lets held transfers go on, and all later ones through.
    func letGo() throws {
        try FileManager.default.removeItem(atPath: directory + "/hold")
    }

    /// What was asked for so far, a line each.
    var log: [String] {
        ((try? String(contentsOfFile: directory + "/log", encoding: .utf8)) ?? "").split(separator: "\n").map(
            String.init)
    }

    /// Waits until a transfer stands still half way.
    func waitUntilHolding() async throws {
        let path = directory + "/log"
        try await eventually("a blob is held back") {
            let log = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
            return log.contains("HOLD ")
        }
    }
}
