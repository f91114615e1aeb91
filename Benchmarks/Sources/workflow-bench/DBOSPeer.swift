import Foundation

/// DBOS Transact for Python, asked to take the same steps in a process of its own.
struct DBOSPeer {
    /// What the script answers: rates in steps a second, one a round.
    struct Answer: Decodable {
        let version: String
        /// Of SQLite.
        let journal: String?
        let sequential: [Double]
        let concurrent: [Double]
    }

    let python: String

    /// One round each; fewer steps than the engine takes, because one of them takes as long as fifty of the engine's.
    func measure(database: String, runs: Int) async throws -> Answer {
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appending(path: "../../Peers/dbos_steps.py").standardizedFileURL.path
        let output = try await run([script, database, "1", "100", "\(runs)", "5"])
        return try JSONDecoder().decode(Answer.self, from: output)
    }

    /// Milliseconds from the answer of the enqueuing to the first line of the workflow.
    func queueLatencies(database: String) async throws -> [Double] {
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appending(path: "../../Peers/dbos_queue.py").standardizedFileURL.path
        return try JSONDecoder().decode([Double].self, from: try await run([script, database, "20"]))
    }

    private func run(_ arguments: [String]) async throws -> Data {
        try await onThread {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: python)
            process.arguments = arguments
            let pipe = Pipe()
            process.standardOutput = pipe
            try process.run()
            let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
            process.waitUntilExit()
            guard process.terminationStatus == 0 else { throw Failed(status: process.terminationStatus) }
            return output
        }
    }

    struct Failed: Error, CustomStringConvertible {
        let status: Int32
        var description: String { "the DBOS peer ended with status \(status)" }
    }
}

/// Runs what blocks on a thread of its own.
func onThread<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
    }
}
