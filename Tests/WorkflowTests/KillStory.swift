import Foundation
import WorkflowTesting

@testable import Workflow

/// A database, an outside on the disk, and what has to hold about both after children worked on them.
struct KillStory: Sendable {
    let database: String
    let world: String
    /// Of children whose store has leases.
    static let leaseTerm = Duration.seconds(1)

    static func use<T>(_ kind: StoreKind = .sqlite, _ body: (KillStory) async throws -> T) async throws -> T {
        try await TestStore.use(kind) { store in
            let world = store.directory + "/world"
            try FileManager.default.createDirectory(atPath: world, withIntermediateDirectories: false)
            return try await body(KillStory(database: store.address, world: world))
        }
    }

    func start(
        _ mode: String, count: Int = 1, environment: [String: String] = [:], under tool: [String] = []
    ) throws -> Child {
        try Child.start(
            mode, database: database, world: world, count: count, environment: environment, under: tool)
    }

    func engine() async throws -> Engine {
        var store = StoreConfiguration.named(database)
        store.leaseTerm = Self.leaseTerm
        return try await Engine(store: store, configuration: testConfiguration())
    }

    /// What children that wait for it wait for.
    func go() throws {
        try Data().write(to: URL(fileURLWithPath: world + "/go"))
    }

    /// The lines of the world's log.
    func marks(in part: String = "") -> [String] {
        let text = (try? String(contentsOfFile: world + part + "/effects", encoding: .utf8)) ?? ""
        return text.split(separator: "\n").map(String.init)
    }

    func effects(in part: String = "") -> [String: Int] {
        Dictionary(marks(in: part).map { ($0, 1) }, uniquingKeysWith: +)
    }

    func boxes(in part: String = "") throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: world + part).filter { $0.hasPrefix("box-") }
    }

    /// What is wrong after a run of `Disk` that was killed some times and then finished.
    func defects(kills: Int) async throws -> [String] {
        let defects = try await ledgerDefects(outputs: ["43"])
        return try defects + self.defects(in: "", kills: kills)
    }

    /// What is wrong after so many runs of `Disk`, each in a part of the world.
    func defects(parts: Int, kills: Int) async throws -> [String] {
        var defects = try await ledgerDefects(outputs: (0..<parts).map { "\(43 + $0)" })
        for part in 0..<parts { defects += try self.defects(in: "/\(part)", kills: kills) }
        return defects
    }

    private func ledgerDefects(outputs: [String]) async throws -> [String] {
        var defects: [String] = []
        let engine = try await engine()
        let runs = try await engine.runs()
        if runs.compactMap(\.output).sorted() != outputs || runs.count != outputs.count {
            defects.append("the runs are \(runs)")
        }
        let open = try await engine.resources(states: [.intended, .held, .releasing])
        if !open.isEmpty { defects.append("open in the ledger: \(open)") }
        await engine.shutdown()
        return defects
    }

    private func defects(in part: String, kills: Int) throws -> [String] {
        var defects: [String] = []
        let boxes = try boxes(in: part)
        if !boxes.isEmpty { defects.append("\(part) left behind: \(boxes)") }
        let effects = effects(in: part)
        if effects["register"] != 1 { defects.append("\(part) registered \(effects["register"] ?? 0) times") }
        for name in ["prepare", "pull", "report"] where !(1...(1 + kills)).contains(effects[name] ?? 0) {
            defects.append("\(part) \(name) happened \(effects[name] ?? 0) times with \(kills) kills")
        }
        return defects
    }
}
