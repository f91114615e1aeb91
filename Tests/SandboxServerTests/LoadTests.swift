import Connect
import Foundation
import Glibc
import Sandbox
import SandboxAPI
import TestSupport
import Testing

@Suite("under load", .serialized)
struct LoadTests {
    @Test("200 sandboxes at once: every one is made, every command answers, every one ends")
    func manySandboxes() async throws {
        let count = 200
        try await ServedSandboxes.with { served in
            let before = try ResidentMemory.now()
            let sandboxes = try await Self.each(count) { number in
                try await served.create { $0.env = ["NUMBER": "\(number)"] }
            }
            #expect(Set(sandboxes.map(\.id)).count == count)
            #expect(Set(try await served.list(pageSize: 37).map(\.sandboxID)) == Set(sandboxes.map(\.id)))
            let created = try ResidentMemory.now()
            let answers = try await Self.each(count) { number in
                var text = ""
                for round in 1...3 {
                    text += try await served.shell("echo $NUMBER $1", ["\(round)"], in: sandboxes[number]).text
                }
                return text
            }
            #expect(answers == (0..<count).map { "\($0) 1\n\($0) 2\n\($0) 3\n" })
            // All of them at the same moment: nobody ends before everybody runs.
            let waiting = try await Self.each(count) { number in
                var request = RunCommandRequest()
                request.sandbox = sandboxes[number]
                request.cmd = "sh"
                request.args = ["-c", "echo here; until [ -e /work/go ]; do sleep 0.3; done; head -c 100000 /dev/zero"]
                return try await served.client.serverStream(SandboxMethods.runCommand, request) { stream in
                    var output = 0
                    while let event = try await stream.next() {
                        if output == 0, !event.stdout.data.isEmpty {
                            await Self.gate.pass(of: count)
                            _ = try await served.write("/work/go", [], in: sandboxes[number])
                        }
                        output += event.stdout.data.count
                        if case .finished(let finished)? = event.event, finished.exitCode == 0 { return output }
                    }
                    return -1
                }
            }
            #expect(waiting == Array(repeating: 100_005, count: count))
            let busy = try ResidentMemory.now()
            _ = try await Self.each(count) { number in
                try await served.call(SandboxMethods.killSandbox) { $0.sandbox = sandboxes[number] }.sandbox.status
            }
            #expect(try await served.list().isEmpty)
            let after = try ResidentMemory.now()
            print("200 sandboxes: resident \(before) MiB, created \(created), busy \(busy), killed \(after)")
            #expect(busy - before < 300)
        }
    }

    private static let gate = Gate()

    /// Lets everybody through once all are there.
    private actor Gate {
        private var waiting: [CheckedContinuation<Void, Never>] = []

        func pass(of count: Int) async {
            await withCheckedContinuation { continuation in
                waiting.append(continuation)
                guard waiting.count == count else { return }
                for one in waiting { one.resume() }
                waiting = []
            }
        }
    }

    @Test("a large file is written and read back with flat memory")
    func largeFile() async throws {
        // SNAPWF_TEST_LONG=1: 1 GiB.
        let megabytes = TestSize.count(96, long: 1024)
        try await ServedSandboxes.withSandbox { served, sandbox in
            let piece = (0..<(1 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 167 ^ ($0 >> 8)) }
            var largest = try ResidentMemory.now()
            let before = largest
            var target = WriteFileRequest()
            target.init_p.sandbox = sandbox
            target.init_p.path = "/work/large"
            var data = WriteFileRequest()
            data.data = Data(piece)
            let written = try await served.client.clientStream(
                SandboxMethods.writeFile, deadline: .seconds(600)
            ) { [target, data] sink in
                try await sink.send(target)
                for number in 0..<megabytes {
                    try await sink.send(data)
                    if number % 16 == 0 { largest = max(largest, try ResidentMemory.now()) }
                }
            }
            #expect(written.bytesWritten == Int64(megabytes) << 20)
            // What counts is what the sandbox has, by its own tools.
            let digest = try await served.shell("sha256sum < /work/large", in: sandbox).text
            let again = try await served.shell(
                "head -c 1048576 /work/large > /work/one; i=0; while [ $i -lt $1 ]; do cat /work/one; i=$((i + 1)); done | sha256sum",
                ["\(megabytes)"], in: sandbox
            ).text
            #expect(digest == again && digest.count > 64)

            var request = ReadFileRequest()
            request.sandbox = sandbox
            request.path = "/work/large"
            var offset = 0
            var isSame = true
            try await served.client.serverStream(
                SandboxMethods.readFile, request, deadline: .seconds(600)
            ) { stream in
                while let message = try await stream.next() {
                    // Piece by piece against what was sent.
                    var rest = Array(message.data)[...]
                    while !rest.isEmpty {
                        let start = offset % piece.count
                        let part = rest.prefix(piece.count - start)
                        isSame = isSame && part.elementsEqual(piece[start..<(start + part.count)])
                        offset += part.count
                        rest = rest.dropFirst(part.count)
                    }
                    largest = max(largest, try ResidentMemory.now())
                }
            }
            #expect(isSame && offset == megabytes << 20)
            print("\(megabytes) MiB written and read: resident \(before) MiB, at most \(largest)")
            #expect(largest - before < 128)
        }
    }

    /// Does something `count` times at once; the results in order.
    private static func each<Result: Sendable>(
        _ count: Int, _ body: @escaping @Sendable (Int) async throws -> Result
    ) async throws -> [Result] {
        try await withThrowingTaskGroup(of: (Int, Result).self) { group in
            for number in 0..<count { group.addTask { (number, try await body(number)) } }
            var results: [Int: Result] = [:]
            for try await (number, result) in group { results[number] = result }
            return (0..<count).compactMap { results[$0] }
        }
    }
}

enum ResidentMemory {
    /// Of this process, in MiB.
    static func now() throws -> Int {
        let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
        let pages = try #require(text.split(separator: " ").dropFirst().first.flatMap { Int($0) })
        return (pages * Int(getpagesize())) >> 20
    }
}
