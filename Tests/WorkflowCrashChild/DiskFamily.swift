import Workflow

/// Waits for two signals and two children on the disk world: 40 becomes 40 + 1 + (40 + 1 + 1) + (40 + 1 + 2) + 2.
struct DiskFamily: WorkflowDefinition {
    static let name = "disk-family"
    static let version = 1
    let world: DiskWorld

    func run(_ input: Int, in run: RunContext) async throws -> Int {
        try await run.step("prepare") { [world] _ in try world.effect("prepare") }
        let first = input + (try await run.waitForSignal("word", as: Int.self))
        let children = [
            try await run.child("one", DiskMember.self, input: first + 1, queue: "family"),
            try await run.child("two", DiskMember.self, input: first + 2, queue: "family"),
        ]
        var sum = first
        for child in children { sum += try await child.result() }
        sum += try await run.waitForSignal("word", as: Int.self)
        try await run.step("report") { [world] _ in try world.effect("report") }
        return sum
    }
}

/// Works in a box, and registers what must be registered once.
struct DiskMember: WorkflowDefinition {
    static let name = "disk-member"
    static let version = 1
    let world: DiskWorld

    func run(_ input: Int, in run: RunContext) async throws -> Int {
        try await run.withResource(DiskBox(world: world), named: "box") { run, _ in
            try await run.step("pull") { [world] _ in
                try world.effect("pull \(input)")
                try await Task.sleep(for: .milliseconds(5))
            }
            return try await run.step(
                "register",
                inDoubt: .verify { [world] _ in world.has("register \(input)") ? .done(input) : .notDone }
            ) { [world] _ in
                try world.effect("register \(input)")
                return input
            }
        }
    }
}
