import Foundation
import SnapshotSteps
import Testing
import Workflow

@testable import snapwf

/// What `snapwf submit --batch` reads, and the other words of queues on a command line.
struct BatchFileTests {
    private func read(_ text: String) throws -> [BatchFile.Line] { try BatchFile(Array(text.utf8), name: "f").lines }

    @Test(
        "a line is a reference or an object of flags; comments and empty lines are nobody's, and lines keep their numbers"
    )
    func lines() throws {
        let lines = try read(
            "# first\n\napp:1\r\n  app:2  \n{\"image\": \"app:3\", \"size\": \"1GiB\", \"verify-boot\": true}\n")
        #expect(lines.map(\.number) == [3, 4, 5])
        #expect(lines.map(\.entry.image) == ["app:1", "app:2", "app:3"])
        #expect(lines.last?.entry.size == "1GiB" && lines.last?.entry.verifyBoot == true)
        #expect(try read("\u{FEFF}app:1").map(\.entry.image) == ["app:1"], "a byte order mark is no part of it")
    }

    @Test("bytes that are no text, lines that are too long, too many images and no image at all are refused by line")
    func limits() throws {
        let cases: [([UInt8], String)] = [
            ([0x61, 0x0A, 0xFF, 0xFE], "line 2 of f: it is no UTF-8"),
            (Array(String(repeating: "a", count: BatchFile.longestLine + 1).utf8), "line 1 of f: it is too long"),
            (Array(String(repeating: "a\n", count: BatchRequest.largest + 1).utf8), "line 1001 of f: "),
            (Array("# none\n".utf8), "f names no image"), ([], "f names no image"),
        ]
        for (bytes, why) in cases {
            let error = #expect(throws: SnapshotError.self) { try BatchFile(bytes, name: "f") }
            #expect(error?.message.hasPrefix(why) == true && error?.code == .usage, "\(error?.message ?? "")")
        }
        #expect(try read(String(repeating: "a\n", count: BatchRequest.largest)).count == BatchRequest.largest)
    }

    @Test("random bytes are read or refused, and never trap", arguments: [UInt64(1), 2, 3])
    func fuzz(_ seed: UInt64) {
        var state = seed
        var refused = 0
        for _ in 0..<2000 {
            let pieces = [
                "{", "}", "\"image\"", ":", "\"a\"", ",", "\n", "[", "1e999", "\\u0000", "null", "#", " ", "é",
            ]
            var text = ""
            for _ in 0..<12 {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                text += pieces[Int(state >> 33) % pieces.count]
            }
            do { _ = try BatchFile(Array(text.utf8), name: "f") } catch { refused += 1 }
        }
        print("batch files: seed \(seed), 2000 read, \(refused) refused")
        #expect(refused > 0)
    }

    @Test("rates, times and names of queues are as the help says, and nothing else")
    func words() {
        #expect(QueueRate(argument: "10/1m")?.rate == .init(starts: 10, per: .seconds(60)))
        #expect(QueueRate(argument: "3/h")?.rate == .init(starts: 3, per: .seconds(3600)))
        for text in ["", "/", "10", "10/", "0/1m", "-1/1m", "1/0s", "1/1m/1m", "x/1m", "1/x"] {
            #expect(QueueRate(argument: text) == nil, "\(text)")
        }
        let now = Date(timeIntervalSince1970: 1_800_000_000)
        #expect(Moment(argument: "2h")?.date(from: now) == now.addingTimeInterval(7200))
        #expect(Moment(argument: "2027-01-15T08:00:00Z")?.date(from: now) == now)
        #expect(Moment(argument: "tomorrow") == nil && Moment(argument: "") == nil)
        #expect(QueueName(argument: "") == nil && QueueName(argument: BatchWorkflow.queue) == nil)
        #expect(QueueName(argument: "a\nb") == nil && QueueName(argument: "gpu 1")?.description == "gpu 1")
        #expect(QueueName(of: .local, [:]).description == "local")
        #expect(QueueName(of: .api(url: "https://api.depot.dev", organization: "o"), [:]).description == "depot")
        #expect(QueueName(of: .api(url: "http://b:7777", organization: nil), [:]).description == "api:b:7777")
    }
}
