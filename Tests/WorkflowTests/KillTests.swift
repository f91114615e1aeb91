import Foundation
import Glibc
import Testing
import Workflow
import WorkflowTesting

@Suite("Real processes, really killed")
struct KillTests {
    /// A database and an outside for one story.
    private static func use<T>(_ body: (_ database: String, _ world: String) async throws -> T) async throws -> T {
        try await TemporaryStore.use { store in
            let world = store.directory + "/world"
            try FileManager.default.createDirectory(atPath: world, withIntermediateDirectories: false)
            return try await body(store.path, world)
        }
    }

    private static func effects(_ world: String) -> [String: Int] {
        let text = (try? String(contentsOfFile: world + "/effects", encoding: .utf8)) ?? ""
        return Dictionary(text.split(separator: "\n").map { (String($0), 1) }, uniquingKeysWith: +)
    }

    private static func boxes(_ world: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: world).filter { $0.hasPrefix("box-") }
    }

    /// What is wrong after a run that was killed some times and then finished.
    private static func defects(_ database: String, _ world: String, kills: Int) async throws -> [String] {
        var defects: [String] = []
        let engine = try await Engine(store: .sqlite(path: database), configuration: testConfiguration())
        let runs = try await engine.runs()
        if runs.map(\.output) != ["43"] { defects.append("the runs are \(runs)") }
        let open = try await engine.resources(states: [.intended, .held, .releasing])
        if !open.isEmpty { defects.append("open in the ledger: \(open)") }
        await engine.shutdown()
        let boxes = try boxes(world)
        if !boxes.isEmpty { defects.append("left behind: \(boxes)") }
        let effects = effects(world)
        if effects["register"] != 1 { defects.append("registered \(effects["register"] ?? 0) times") }
        for name in ["prepare", "pull", "report"] where !(1...(1 + kills)).contains(effects[name] ?? 0) {
            defects.append("\(name) happened \(effects[name] ?? 0) times with \(kills) kills")
        }
        return defects
    }

    @Test("SIGKILL at every crash point of a process, then a new process finishes")
    func everyPoint() async throws {
        let points = try await Self.use { database, world in
            let child = try Child.start("run", database: database, world: world, environment: ["TRACE": "1"])
            #expect(try await child.end() == (nil, 0))
            #expect(try await Self.defects(database, world, kills: 0) == [])
            return child.printed.filter { $0.hasPrefix("passed ") }.map { String($0.dropFirst(7)) }
        }
        print("killed at \(points.count) points")
        #expect(points.count >= 40)
        for point in points {
            try await Self.use { database, world in
                let victim = try Child.start("run", database: database, world: world, environment: ["CRASH_AT": point])
                #expect(try await victim.end().signal == SIGKILL, "\(point) was not passed")
                let finisher = try Child.start("run", database: database, world: world)
                #expect(try await finisher.end() == (nil, 0), "after \(point)")
                #expect(try await Self.defects(database, world, kills: 1) == [], "after \(point)")
            }
        }
    }

    @Test("SIGKILL at random moments until a process gets through")
    func randomMoments() async throws {
        var kills = 0
        for _ in 0..<8 {
            try await Self.use { database, world in
                var killed = 0
                while true {
                    let child = try Child.start("run", database: database, world: world)
                    // The later ones get more time, so that the story ends.
                    let delay = Int.random(in: 0...(40 + killed * 20))
                    print("kill after \(delay) ms")
                    try await Task.sleep(for: .milliseconds(delay))
                    child.send(SIGKILL)
                    let end = try await child.end()
                    if end.signal == nil {
                        #expect(end.status == 0)
                        break
                    }
                    killed += 1
                }
                #expect(try await Self.defects(database, world, kills: killed) == [])
                kills += killed
            }
        }
        print("killed \(kills) times")
    }

    @Test("a living process holds its run, stopped or not; a killed one lets go at once")
    func holder() async throws {
        try await Self.use { database, world in
            let child = try Child.start("hold", database: database, world: world)
            let id = try #require(RunID(try await child.line("holding ")))
            try await until { Self.effects(world)["wait"] != nil }
            let engine = try await Engine(store: .sqlite(path: database), configuration: testConfiguration())
            let workflow = Script { _, _ in 1 }
            for signal in [SIGCONT, SIGSTOP] {
                child.send(signal)
                #expect(try await engine.run(id)?.status == .running)
                #expect(try await engine.withAbandonedRun(id) { _ in true } == nil)
                do {
                    _ = try await engine.decide(id, step: "wait", .runAgain)
                    Issue.record("the run was not held")
                } catch let error as WorkflowError {
                    guard case .runHeld(let owner?) = error.code else { throw error }
                    #expect(owner.pid == child.pid && owner.description == "child")
                }
            }
            child.send(SIGKILL)
            #expect(try await child.end().signal == SIGKILL)
            #expect(try await engine.run(id)?.status == .interrupted)
            #expect(await code { _ = try await engine.resume(id, as: workflow) } == .versionMismatch)
            #expect(try await engine.withAbandonedRun(id) { $0.resources.map(\.state) } == [.held])
            await engine.shutdown()
        }
    }

    @Test("a cancellation reaches the process that holds the run, which releases and ends it")
    func cancellation() async throws {
        try await Self.use { database, world in
            let child = try Child.start("hold", database: database, world: world)
            let id = try #require(RunID(try await child.line("holding ")))
            try await until { Self.effects(world)["wait"] != nil }
            #expect(try Self.boxes(world).count == 1)
            let engine = try await Engine(store: .sqlite(path: database), configuration: testConfiguration())
            #expect(try await engine.cancel(id))
            #expect(try await child.end() == (nil, 0))
            #expect(child.printed.last == "cancelled")
            #expect(try await engine.run(id)?.status == .cancelled)
            #expect(try Self.boxes(world) == [])
            await engine.shutdown()
        }
    }
}
