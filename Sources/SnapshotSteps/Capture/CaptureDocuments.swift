import Files
import FoundationEssentials
import Sandbox
import Workflow

/// What is on disk of a capture.
struct CaptureDocuments: Sendable {
    struct Record: Codable {
        var source: SandboxID
        var name: String?
        var createdAt: UnixTime
    }

    /// How a capture succeeded.
    struct Outcome: Codable {
        var run: String
        var key: String
        var size: UInt64

        /// - Returns: `nil` when the run has no result that can be read.
        init?(of record: RunRecord) {
            guard let output = record.output,
                let result = try? JSONDecoder().decode(SnapshotResult.self, from: Data(output.utf8))
            else { return nil }
            run = record.id.description
            key = result.key
            size = result.size
        }

        init(run: RunID, result: SnapshotResult) {
            self.run = run.description
            key = result.key
            size = result.size
        }
    }

    /// `nil` where whoever asked for the capture was never told of it.
    let record: Record?
    let outcome: Outcome?
    let failure: String?

    init(reading directory: String) throws {
        let limit = 64 << 10
        record = try readFile(directory + "/capture.json", limit: limit)
            .map { try JSONDecoder().decode(Record.self, from: Data($0)) }
        outcome = try readFile(directory + "/result.json", limit: limit)
            .map { try JSONDecoder().decode(Outcome.self, from: Data($0)) }
        failure = try readFile(directory + "/failure", limit: limit).map { String(decoding: $0, as: UTF8.self) }
    }

    static func write(_ record: Record, in directory: String) throws {
        try replaceFile(directory + "/capture.json", Array(try JSONEncoder().encode(record)), mode: 0o600)
    }

    static func write(_ outcome: Outcome, in directory: String) throws {
        try replaceFile(directory + "/result.json", Array(try JSONEncoder().encode(outcome)), mode: 0o600)
    }

    static func write(failure reason: String, in directory: String) throws {
        try replaceFile(directory + "/failure", Array(reason.utf8.prefix(4096)), mode: 0o600)
    }
}
