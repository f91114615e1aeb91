import Crypto
import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing
import Threads

@testable import RootFS

/// Layers that are decoded before it is their turn.
@Suite("Layers decoded ahead of their turn")
struct LayerQueueTests {
    struct Late: Error {}
    struct Cut: Error {}
    struct Cancelled: Error {}

    /// What the sources of one conversion have done.
    final class Witness: Sendable {
        struct State: Sendable {
            var opened = 0
            var open = 0
            var mostOpen = 0
            var ended: Set<String> = []
            var bytes: [String: Int] = [:]
            var isCancelled = false
        }

        let state = Monitor(State())

        var now: State { state.update { $0 } }

        /// Blocks until something has happened; a minute is long for all that these tests wait for.
        func wait(_ happened: @escaping @Sendable (State) -> Bool) throws {
            guard state.wait(until: .now + .seconds(60), { happened($0) ? () : nil }) != nil else { throw Late() }
        }
    }

    /// Gives some bytes, then waits for something, then goes on with `rest` or fails.
    final class Source: LayerSource {
        private let name: String
        private let witness: Witness
        private var memory: MemorySource
        /// What happens where `memory` ends.
        private var end: (Witness) throws -> Void

        init(_ name: String, _ bytes: [UInt8], _ witness: Witness, end: @escaping (Witness) throws -> Void = { _ in }) {
            self.name = name
            self.witness = witness
            self.end = end
            memory = MemorySource(bytes: bytes[...])
            witness.state.update { state in
                state.opened += 1
                state.open += 1
                state.mostOpen = max(state.mostOpen, state.open)
            }
        }

        deinit { witness.state.update { $0.open -= 1 } }

        var cancellation: (@Sendable () -> Void)? { { [witness] in witness.state.update { $0.isCancelled = true } } }

        func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
            let count = memory.read(into: buffer)
            let name = name
            witness.state.update { $0.bytes[name, default: 0] += count }
            guard count == 0 else { return count }
            defer { witness.state.update { _ = $0.ended.insert(name) } }
            try end(witness)
            return 0
        }
    }

    private func layer(
        _ name: String, _ archive: [UInt8], _ witness: Witness,
        end: @escaping @Sendable (Witness) throws -> Void = { _ in }
    ) -> Layer {
        Layer(
            name: name, compression: .none, diffID: Array(SHA256.hash(data: archive)),
            open: { Source(name, archive, witness, end: end) })
    }

    private static let small = TarBuilder.archive([.file("x", "content")])

    @Test("the layers below are read to their ends while the one that is merged waits", arguments: [3, 4])
    func runAhead(threads: Int) throws {
        let witness = Witness()
        let layers = [
            layer("bottom", Self.small, witness), layer("middle", Self.small, witness),
            layer("top", Self.small, witness) { witness in
                try witness.wait { $0.ended.isSuperset(of: ["bottom", "middle"]) }
            },
        ]
        #expect(try refusal(layers, execution: Execution(threads: threads, layers: 3)) == nil)
        #expect(witness.now.opened == 3)
    }

    @Test("a layer that blocks holds up neither those above nor those below", arguments: [3, 4])
    func blocked(threads: Int) throws {
        let witness = Witness()
        let layers = [
            layer("bottom", Self.small, witness),
            layer("blocked", Self.small, witness) { witness in try witness.wait { $0.ended.contains("bottom") } },
            layer("top", Self.small, witness),
        ]
        #expect(try refusal(layers, execution: Execution(threads: threads, layers: 3)) == nil)
    }

    @Test("with one or two threads a layer is opened when the one above it is done", arguments: ways)
    func serial(way: Execution) throws {
        let witness = Witness()
        let layers = (0..<5).map { layer("\($0)", Self.small, witness) }
        var way = way
        way.layers = way.threads < 3 ? 6 : 1
        #expect(try refusal(layers, execution: way) == nil)
        #expect(witness.now.opened == 5)
        #expect(witness.now.mostOpen == 1)
    }

    @Test("of many layers only some are open, and of them all threads end", arguments: [1, 3, 4, 8])
    func many(threads: Int) throws {
        let witness = Witness()
        let mostTasks = Atomic<Int>(0)
        let name = "layers-\(threads)-\(UInt16.random(in: 0 ... .max))"
        let layers = (0..<120).map { number in
            let archive = TarBuilder.archive([.file("file-\(number)")])
            var layer = layer("\(number)", archive, witness)
            let open = layer.open
            layer.open = {
                mostTasks.max(tasks(named: name), ordering: .relaxed)
                return try open()
            }
            return layer
        }
        let (error, left) = try onThread(named: name) {
            try refusal(layers, execution: Execution(threads: threads, layers: 4))
        }
        #expect(error == nil)
        #expect(left == 1)
        #expect(witness.now.opened == 120 && witness.now.open == 0)
        #expect(witness.now.mostOpen <= (threads == 1 ? 1 : 4))
        // Three threads for each of four layers, and as many that are just ending.
        #expect(mostTasks.load(ordering: .relaxed) <= (threads == 1 ? 1 : 1 + 2 * 4 * 3))
    }

    @Test("a lower layer's failure waits until it is that layer's turn", arguments: [3, 4])
    func lowerFailure(threads: Int) throws {
        for upperFails in [false, true] {
            let witness = Witness()
            var layers = [
                layer("bottom", Self.small, witness) { _ in throw Cut() },
                layer("middle", Self.small, witness) { _ in throw Cut() },
                layer("top", Self.small, witness) { witness in
                    try witness.wait { $0.ended.isSuperset(of: ["bottom", "middle"]) }
                },
            ]
            if upperFails { layers[2].diffID = Array(repeating: 1, count: 32) }
            let error = try refusal(layers, execution: Execution(threads: threads, layers: 3))
            #expect(error?.layer == (upperFails ? "top" : "middle"))
            #expect(error?.code == (upperFails ? .digest : .source))
            #expect(witness.now.open == 0)
        }
    }

    @Test("when a layer is refused, those that wait for the network below it end, and so do all threads")
    func cancelled() throws {
        for threads in [3, 4] {
            let witness = Witness()
            let name = "refused-\(threads)-\(UInt16.random(in: 0 ... .max))"
            let stalled: @Sendable (Witness) throws -> Void = { witness in
                try witness.wait { $0.isCancelled }
                throw Cancelled()
            }
            let layers = [
                layer("bottom", Self.small, witness, end: stalled),
                layer("middle", Self.small, witness, end: stalled),
                layer("top", TarBuilder.archive([.file("../x")]), witness) { witness in
                    try witness.wait { $0.opened == 3 }
                },
            ]
            let (error, left) = try onThread(named: name) {
                try refusal(layers, execution: Execution(threads: threads, layers: 3))
            }
            #expect(error?.code == .name)
            #expect(left == 1)
            #expect(witness.now.open == 0)
        }
    }

    @Test("a layer is read no further ahead than its share, and than 16 MiB while it is merged", arguments: [4, 40])
    func bounded(mebibytes: Int) throws {
        let witness = Witness()
        let archive = [UInt8](repeating: 0, count: 96 << 20)
        let share = mebibytes << 20
        let inUse = 16 << 20
        // Beyond what waits decoded: what waits to be decoded, and what the decoder has in its hands.
        let slack = 4 << 20
        let pieces = try #require(
            PiecesAhead(
                layer("large", archive, witness), execution: Execution(threads: 4), waitingBytes: share))
        // Pieces need not be full, but that they never are would be a waste.
        try witness.wait { $0.bytes["large", default: 0] >= share / 2 }
        // One that knew no bound would go on.
        usleep(50_000)
        #expect(witness.now.bytes["large", default: 0] <= share + slack)
        pieces.begin()
        var consumed = 0
        while let (bytes, _) = try pieces.next() {
            let ahead = witness.now.bytes["large", default: 0] - consumed
            #expect(ahead <= (consumed < share ? max(share, inUse) : inUse) + slack)
            consumed += bytes.count
        }
        #expect(consumed == archive.count)
    }

    @Test("the shares of all open layers are 80 MiB at most, and what zstd's decoders keep is in them")
    func shares() {
        for layers in 0...1000 {
            let open = Execution(threads: 4, layers: layers).openLayers
            #expect((1...6).contains(open))
            #expect(open * Execution.share(of: open, .gzip) <= 80 << 20)
            #expect(open * 2 * Execution.share(of: open, .zstd) <= 80 << 20)
        }
    }

    @Test("many random layers make the same bytes, or the same error, in every way")
    func sameBytes() throws {
        let seed = TestSize.seed("layers ahead")
        let others = GzipDecoder.available.flatMap { gzip in
            [1, 2, 3, 4, 8].flatMap { threads in
                [2, 6].map { Execution(gzip: gzip, threads: threads, layers: $0) }
            }
        }
        var images = 0
        var refusals = 0
        for round in 0..<3 {
            var random = RandomLayers(seed: seed &+ UInt64(round))
            var layers = random.stack(layers: 30 + 5 * round).layers.enumerated().map { number, layer in
                layer.storage.layer(TarBuilder.archive(layer.members), name: "layer-\(number)")
            }
            // A layer that is refused goes, until there is an image.
            while true {
                let expected = try outcome(layers, Execution(threads: 1))
                for way in others { #expect(try outcome(layers, way) == expected, "SNAPWF_TEST_SEED=\(seed), \(way)") }
                guard case .failure(let error) = expected else { break }
                refusals += 1
                let count = layers.count
                layers.removeAll { $0.name == error.layer }
                try #require(layers.count < count, "\(error)")
            }
            images += layers.isEmpty ? 0 : 1
        }
        #expect(images == 3)
        print("layers ahead: \(images) images and \(refusals) refusals are the same in \(others.count) ways")
    }

    private enum Outcome: Equatable {
        case image([UInt8])
        case failure(Failure)
    }

    private struct Failure: Equatable {
        var layer: String?
        var text: String
    }

    /// The digest of an image, or the error.
    private func outcome(_ layers: [Layer], _ execution: Execution) throws -> Outcome {
        let descriptor = try makeMemoryFile()
        defer { close(descriptor) }
        var converter = Converter(temporaryDirectory: FileManager.default.temporaryDirectory.path)
        converter.execution = execution
        do throws(RootFSError) {
            _ = try converter.convert(layers: layers, into: descriptor, format: testFormat)
        } catch {
            return .failure(Failure(layer: error.layer, text: error.description))
        }
        var hash = SHA256()
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        var position = 0
        while true {
            let count = try check(pread(descriptor, &buffer, buffer.count, off_t(position)), "pread")
            if count == 0 { return .image(Array(hash.finalize())) }
            buffer.withUnsafeBytes { hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: $0[..<count])) }
            position += count
        }
    }
}

/// Runs a body on a thread with a name, which those have too that it starts: so they can be told from those of other
/// tests. Returns what the body does, and how many threads of that name there are then.
private func onThread<Value: Sendable>(
    named name: String, _ body: @escaping @Sendable () throws -> Value
) throws -> (Value, tasks: Int) {
    let outcome = Mutex<(Result<Value, any Error>, Int)?>(nil)
    let thread = Threads.Thread {
        _ = systemSetName(pthread_self(), name)
        let result = Result { try body() }
        // A thread that was joined has ended, but the kernel may list it for a moment more.
        var left = tasks(named: name)
        let deadline = ContinuousClock.now + .seconds(60)
        while left > 1, ContinuousClock.now < deadline {
            usleep(1000)
            left = tasks(named: name)
        }
        outcome.withLock { $0 = (result, left) }
    }
    try #require(thread).join()
    let (result, left) = try #require(outcome.withLock { $0 })
    return (try result.get(), left)
}

@_silgen_name("pthread_setname_np")
private func systemSetName(_ thread: pthread_t, _ name: UnsafePointer<CChar>) -> Int32

/// How many threads of this process have a name. One that ends meanwhile is not counted.
private func tasks(named name: String) -> Int {
    let directory = "/proc/self/task"
    let tasks = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    return tasks.count { task in
        (try? String(contentsOfFile: "\(directory)/\(task)/comm", encoding: .utf8)) == name + "\n"
    }
}
