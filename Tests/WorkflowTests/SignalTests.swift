import Foundation
import Testing
import WorkflowTesting

@testable import Workflow

@Suite("Signals", .everyStore)
struct SignalTests {
    @Test("signals are received in order, each once, whether they come before or during the wait, and once by key")
    func order() async throws {
        try await withEngines(2) { engines, _ in
            let world = World()
            let script = Script { _, run in
                try await run.step("begin") { _ in try await until { world.count("go") > 0 } }
                var received: [Int] = []
                for _ in 0..<4 { received.append(try await run.waitForSignal("number", as: Int.self)) }
                return received + [try await run.waitForSignal("other", as: Int.self)]
            }
            let handle = try await engines[0].start(script, input: "")
            #expect(try await engines[1].signal(handle.id, "number", 1, key: "one"))
            #expect(try await engines[1].signal(handle.id, "number", 2, key: "two"))
            #expect(try await !engines[0].signal(handle.id, "number", 1, key: "one"))
            #expect(try await engines[0].signal(handle.id, "other", 9, key: "one"))
            world.effect("go")
            try await until { try await engines[1].run(handle.id)?.recordedStatus == .sleeping }
            #expect(try await !engines[0].signal(handle.id, "number", 7, key: "two"))
            #expect(try await engines[0].signal(handle.id, "number", 3))
            #expect(try await engines[1].signal(handle.id, "number", 4))
            #expect(try await handle.result() == [1, 2, 3, 4, 9])
            #expect(await code { try await engines[0].signal(handle.id, "number", 5) } == .alreadyFinished(.succeeded))
            #expect(await code { try await engines[0].signal(RunID(time: Date()), "number", 5) } == .unknownRun)
        }
    }

    @Test("a waiting run wakes quickly, also by a signal of another process's engine")
    func latency() async throws {
        try await withEngines(2) { engines, _ in
            let script = Script { _, run in
                for _ in 0..<10 {
                    let sent = try await run.waitForSignal("ping", as: Double.self)
                    try await run.emit("pong", ["after": Date().timeIntervalSinceReferenceDate - sent])
                }
                return 1
            }
            let handle = try await engines[0].start(script, input: "")
            for round in 0..<10 {
                try await until {
                    let record = try await engines[1].run(handle.id)
                    let waits = try await engines[1].steps(of: handle.id)
                    return record?.recordedStatus == .sleeping && waits.count == round + 1
                        && waits.last?.state == .intended
                }
                try await Task.sleep(for: .milliseconds(30))
                try await engines[1].signal(handle.id, "ping", Date().timeIntervalSinceReferenceDate)
            }
            #expect(try await handle.result() == 1)
            let delays = try await engines[0].events(of: handle.id).filter { $0.kind == "pong" }.compactMap { event in
                try event.payload.map { try Payload.decode([String: Double].self, from: $0)["after"] ?? 9 }
            }.sorted()
            print("from signal to wake-up: median \(delays[delays.count / 2]) s, longest \(delays.last ?? 9) s")
            #expect(delays.count == 10 && delays[delays.count / 2] < 0.25)
        }
    }

    @Test("a wait that is over in time answers nil, and keeps to that; what comes later is for the next wait")
    func timeout() async throws {
        try await withEngines(2) { engines, _ in
            let world = World()
            let script = Script { _, run in
                let first = try await run.waitForSignal("x", as: Int.self, timeout: .milliseconds(50))
                try await run.step("between") { _ in
                    if world.effect("between") == 1 { try await Task.sleep(for: .seconds(600)) }
                }
                return [first, try await run.waitForSignal("x", as: Int.self, timeout: .seconds(60))] as [Int?]
            }
            let handle = try await engines[0].start(script, input: "")
            try await until { world.count("between") == 1 }
            try await engines[0].signal(handle.id, "x", 5)
            await engines[0].interrupt()
            #expect(await code { _ = try await handle.result() } == .interrupted)
            let store = engines[1].core.store
            #expect(try await store.signals(of: [handle.id]).map(\.payload) == ["5"])
            #expect(try await engines[1].resume(handle.id, as: script).result() == [nil, 5])
            #expect(try await store.signals(of: [handle.id]).isEmpty)
        }
    }

    @Test("what was received stays received when the process dies, and what was not comes again")
    func resumed() async throws {
        try await TestStore.use { files in
            let world = World()
            let script = Script { _, run in
                let first = try await run.waitForSignal("x", as: String.self)
                try await run.step("after \(first)") { _ in
                    if world.effect("after") == 1 { try await Task.sleep(for: .seconds(600)) }
                }
                return first + (try await run.waitForSignal("x", as: String.self))
            }
            let first = try await Engine(store: files.configuration, configuration: queueConfiguration())
            let handle = try await first.start(script, input: "")
            for text in ["a", "b"] { try await first.signal(handle.id, "x", text) }
            try await until { world.count("after") == 1 }
            first.sever()
            await first.shutdown()
            let second = try await Engine(store: files.configuration, configuration: queueConfiguration())
            #expect(try await second.resume(handle.id, as: script).result() == "ab")
            await second.shutdown()
        }
    }

    @Test("two waits for one name at once are refused, and a run that is cancelled stops to wait")
    func badUse() async throws {
        try await withEngines(1) { engines, _ in
            let double = Script { _, run in
                async let one = run.waitForSignal("x", as: Int.self)
                try await Task.sleep(for: .milliseconds(50))
                return [try await run.waitForSignal("x", as: Int.self), try await one]
            }
            let error = await #expect(throws: WorkflowError.self) {
                try await engines[0].start(double, input: "").result()
            }
            #expect(error?.message.contains("waited for twice") == true)
            let script = Script { _, run in try await run.waitForSignal("x", as: Int.self) }
            let handle = try await engines[0].start(script, input: "")
            try await until { try await engines[0].run(handle.id)?.recordedStatus == .sleeping }
            try await handle.cancel()
            #expect(await code { _ = try await handle.result() } == .cancelled)
        }
    }
}
