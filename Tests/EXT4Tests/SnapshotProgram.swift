import Foundation
import Testing

/// The built program, as a person would run it.
enum SnapshotProgram {
    /// In `SNAPWF_BIN`, else beside the tests' own program.
    static let path: String = {
        if let directory = ProcessInfo.processInfo.environment["SNAPWF_BIN"] { return directory + "/snapshot" }
        let tests = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return URL(fileURLWithPath: tests).deletingLastPathComponent().path + "/snapshot"
    }()

    /// A minute is far more than any of these may take: an image that makes the program hang fails the test.
    static func run(_ arguments: [String], environment: [String] = []) throws -> CommandResult {
        try EXT4Tests.run(["env"] + environment + ["timeout", "-k", "5", "60", path] + arguments)
    }

    static func run(_ arguments: String...) throws -> CommandResult {
        try run(arguments)
    }

    /// One JSON object a line.
    static func objects(_ text: String) throws -> [[String: Any]] {
        try text.split(separator: "\n").map { line in
            try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        }
    }

    static func object(_ text: String) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any], "\(text)")
    }

    /// The bytes of a path that the program wrote as JSON.
    static func path(_ object: [String: Any]) throws -> [UInt8] {
        if let encoded = object["pathBase64"] as? String { return Array(try #require(Data(base64Encoded: encoded))) }
        return Array(try #require(object["path"] as? String).utf8)
    }
}
