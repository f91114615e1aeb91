import Foundation
import Glibc
import Workflow

/// An outside that survives the process: boxes are files, effects are lines of a log.
struct DiskWorld: Sendable {
    let directory: String

    func effect(_ name: String) throws {
        let path = directory + "/effects"
        let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw TerminalError("cannot open \(path)") }
        defer { close(descriptor) }
        let line = Array((name + "\n").utf8)
        guard write(descriptor, line, line.count) == line.count else { throw TerminalError("cannot write \(path)") }
    }

    func has(_ name: String) -> Bool {
        let text = (try? String(contentsOfFile: directory + "/effects", encoding: .utf8)) ?? ""
        return text.split(separator: "\n").contains { $0 == name }
    }

    /// Waits until the test has made a file.
    func untilThere(_ name: String) async throws {
        while !FileManager.default.fileExists(atPath: "\(directory)/\(name)") {
            try await Task.sleep(for: .milliseconds(2))
        }
    }
}

struct DiskBox: DurableResource {
    static let kind = "box"
    let world: DiskWorld

    func find(_ key: ResourceKey) async throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: world.directory).sorted()
            .filter { $0.hasPrefix("box-\(key.idempotencyKey)-") }
    }

    func create(_ key: ResourceKey) async throws -> String {
        let name = "box-\(key.idempotencyKey)-\(UUID().uuidString)"
        guard FileManager.default.createFile(atPath: "\(world.directory)/\(name)", contents: nil) else {
            throw TerminalError("cannot make \(name)")
        }
        try world.effect("create")
        return name
    }

    func liveness(of handle: String, _ key: ResourceKey) async throws -> Liveness {
        FileManager.default.fileExists(atPath: "\(world.directory)/\(handle)") ? .alive : .lost
    }

    func release(_ handle: String, _ key: ResourceKey) async throws {
        if unlink("\(world.directory)/\(handle)") != 0, errno != ENOENT {
            throw TerminalError("cannot remove \(handle)")
        }
    }

    func externalID(of handle: String) -> String { handle }
}

/// Steps of every kind on the disk world.
struct Disk: WorkflowDefinition {
    static let name = "disk"
    static let version = 1
    let world: DiskWorld

    func run(_ input: Int, in run: RunContext) async throws -> Int {
        let base = try await run.step("prepare", input: input) { [world] _ in
            try world.effect("prepare")
            return input
        }
        let inner = try await run.withResource(DiskBox(world: world), named: "box") { run, box in
            let first = try await run.step("pull", retry: .exponential(attempts: 50, base: .milliseconds(5))) {
                [world] step in
                try await step.report(step.attempt)
                try world.effect("pull")
                try await Task.sleep(for: .milliseconds(5))
                guard FileManager.default.fileExists(atPath: "\(world.directory)/\(box)") else { throw ResourceLost() }
                return base + 1
            }
            try await run.sleep("settle", for: .milliseconds(10))
            return try await run.step(
                "register", inDoubt: .verify { [world] _ in world.has("register") ? .done(first + 1) : .notDone }
            ) { [world] _ in
                try world.effect("register")
                return first + 1
            }
        }
        return try await run.step("report") { [world] _ in
            try world.effect("report")
            return inner + 1
        }
    }
}

/// Holds a box until the test says go, or it is cancelled or killed.
struct Holding: WorkflowDefinition {
    static let name = "holding"
    static let version = 1
    let world: DiskWorld

    func run(_ input: Int, in run: RunContext) async throws -> Int {
        try await run.withResource(DiskBox(world: world), named: "box") { run, _ in
            let attempt = try await run.step("wait") { [world] step in
                try world.effect("wait")
                if step.attempt == 1 {
                    try await world.untilThere("go")
                    try await step.report(1)
                }
                return step.attempt
            }
            return try await run.step("after") { [world] _ in
                try world.effect("after")
                return attempt
            }
        }
    }
}

/// Steps that mark in the world when their bodies begin and end, and in which process.
struct Marked: WorkflowDefinition {
    static let name = "marked"
    static let version = 1
    let world: DiskWorld

    func run(_ input: Int, in run: RunContext) async throws -> Int {
        for index in 0..<input {
            let name = "part[\(index)]"
            try await run.step(
                name, inDoubt: .verify { [world] _ in world.has("effect \(name)") ? .done(index) : .notDone }
            ) { [world] step in
                try world.effect("begin \(name) \(step.attempt) \(getpid())")
                if index == 0 { try await world.untilThere("go") }
                try await Task.sleep(for: .milliseconds(3))
                try world.effect("effect \(name)")
                try world.effect("end \(name) \(step.attempt) \(getpid())")
                return index
            }
        }
        return input
    }
}
