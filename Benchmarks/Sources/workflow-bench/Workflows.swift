import Workflow

/// So many steps that do nothing, one after the other.
struct Steps: WorkflowDefinition {
    static let name = "steps"
    static let version = 1

    func run(_ count: Int, in run: RunContext) async throws -> Int {
        var sum = 0
        for index in 0..<count {
            sum += try await run.step("step[\(index)]") { _ in 1 }
        }
        return sum
    }
}

/// A few checkpoints, and then a step that waits until it is cancelled.
struct Stuck: WorkflowDefinition {
    static let name = "stuck"
    static let version = 1

    func run(_ count: Int, in run: RunContext) async throws -> Int {
        for index in 0..<count { _ = try await run.step("step[\(index)]") { _ in 1 } }
        return try await run.step("wait") { step in
            if step.attempt == 1 {
                try await step.report(1)
                try await Task.sleep(for: .seconds(3600))
            }
            return 1
        }
    }
}

/// A durable sleep.
struct Nap: WorkflowDefinition {
    static let name = "nap"
    static let version = 1

    func run(_ seconds: Int, in run: RunContext) async throws -> Int {
        try await run.sleep("nap", for: .seconds(seconds))
        return seconds
    }
}
