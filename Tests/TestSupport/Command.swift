import Foundation

/// Runs a tool to its end.
package struct Command {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String

        package init(description: String) { self.description = description }
    }

    /// Runs `tool` (found by PATH); its output, or a failure with what it said.
    @discardableResult
    package static func run(_ tool: String, _ arguments: [String], input: [UInt8]? = nil) async throws -> [UInt8] {
        let directory = try TemporaryDirectory()
        let outputPath = "\(directory.path)/out"
        let errorPath = "\(directory.path)/err"
        let inputPath = "\(directory.path)/in"
        for (path, bytes) in [(outputPath, []), (errorPath, []), (inputPath, input ?? [])] {
            try Data(bytes).write(to: URL(fileURLWithPath: path))
        }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        // A tool that hangs must not hang the tests.
        process.arguments = ["timeout", "-k", "5", "60", tool] + arguments
        process.standardInput = try FileHandle(forReadingFrom: URL(fileURLWithPath: inputPath))
        process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: outputPath))
        process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: errorPath))
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            process.terminationHandler = { _ in continuation.resume() }
            do {
                try process.run()
            } catch {
                process.terminationHandler = nil
                continuation.resume(throwing: error)
            }
        }
        guard process.terminationStatus == 0 else {
            let said = String(decoding: try Data(contentsOf: URL(fileURLWithPath: errorPath)), as: UTF8.self)
            throw Failure(description: "\(tool) \(arguments) ended with \(process.terminationStatus): \(said)")
        }
        return [UInt8](try Data(contentsOf: URL(fileURLWithPath: outputPath)))
    }
}
