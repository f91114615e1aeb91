import Foundation
import Workflow

/// Prints one postcard a name, in a scratch directory that the run owns, and mails the stack.
struct Postcards: WorkflowDefinition {
    /// What to print. Stored with the run, like everything that a run is started with.
    struct Order: Codable, Sendable {
        let names: [String]
        /// Where the stack of cards goes.
        let mailbox: String
        /// How long one card takes, in milliseconds.
        let pace: Int
    }

    static let name = "postcards"
    static let version = 1

    /// Where scratch directories live.
    let workshop: String
    /// Says to the user what happens.
    let say: @Sendable (String) -> Void

    func run(_ order: Order, in run: RunContext) async throws -> String {
        try await run.withResource(ScratchDirectory(parent: workshop, say: say), named: "scratch") { run, scratch in
            // A loop indexes its names. Each text is a checkpoint: a resumed run does not write it again.
            var texts: [String] = []
            for (index, name) in order.names.enumerated() {
                let text = try await run.step(
                    "write[\(index)]", input: name,
                    retry: .exponential(attempts: 3, base: .milliseconds(50), cap: .seconds(1))
                ) { [say] step in
                    // The pen fails on the first card, to show a retry.
                    if index == 0, step.attempt == 1 { throw PenIsDry() }
                    say("wrote to \(name), attempt \(step.attempt)")
                    return "Hello \(name)!"
                }
                texts.append(text)
            }
            let stack = "\(scratch)/stack.txt"
            try await run.step("print", timeout: .seconds(600)) { [texts, say] step in
                try await Self.printCards(texts, into: stack, pace: order.pace, step, say)
            }
            return try await run.step("mail") { [say] step in
                let letter = "\(order.mailbox)/\(step.runID).txt"
                try Self.mail(stack, to: letter)
                say("mailed \(letter)")
                return letter
            }
        }
    }

    /// Appends one card after the other, and reports each. An attempt after a crash goes on where the last report was;
    /// what the dead attempt printed after it is cut off first, so that no card is there twice.
    private static func printCards(
        _ texts: [String], into stack: String, pace: Int, _ step: StepContext, _ say: (String) -> Void
    ) async throws {
        let done = step.lastProgress(as: Int.self) ?? 0
        var printed = texts.prefix(done).map { $0 + "\n" }.joined()
        for (index, text) in texts.enumerated().dropFirst(done) {
            try await Task.sleep(for: .milliseconds(pace))
            printed += text + "\n"
            try Data(printed.utf8).write(to: URL(fileURLWithPath: stack), options: .atomic)
            say("printed card \(index + 1) of \(texts.count), attempt \(step.attempt)")
            try await step.report(index + 1)
        }
    }

    /// Safe to repeat: the copy gets its name when it is whole, and another one just replaces it.
    private static func mail(_ stack: String, to letter: String) throws {
        let text = try Data(contentsOf: URL(fileURLWithPath: stack))
        let folder = URL(fileURLWithPath: letter).deletingLastPathComponent()
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try text.write(to: URL(fileURLWithPath: letter), options: .atomic)
    }
}

/// Something that another attempt helps against: every error is retryable unless it says otherwise.
struct PenIsDry: Error, CustomStringConvertible {
    var description: String { "the pen is dry" }
}
