import GuestProtocol
import TestSupport
import Testing

@testable import GuestAgent

@Suite("Who a command runs as, and in what environment")
struct AccountsTests {
    private let accounts = Accounts(
        passwd: Array("root:x:0:0::/root:/bin/sh\nbroken\napp:x:1000:1001::/home/app:/bin/sh\n123:x:7:8:::\n".utf8),
        group: Array("root:x:0:\napp:x:1001:\nextra:x:1002:other,app\nbad:x:no:app\n".utf8))

    @Test(
        "users and groups go by name or by number",
        arguments: [
            ("", Identity(home: "/root")), ("root", Identity(home: "/root")),
            ("app", Identity(uid: 1000, gid: 1001, groups: [1002], home: "/home/app")),
            ("1000", Identity(uid: 1000, gid: 1001, groups: [1002], home: "/home/app")),
            ("app:extra", Identity(uid: 1000, gid: 1002, home: "/home/app")),
            ("app:5", Identity(uid: 1000, gid: 5, home: "/home/app")),
            ("app:", Identity(uid: 1000, gid: 1001, groups: [1002], home: "/home/app")),
            ("4000000000", Identity(uid: 4_000_000_000)), ("9:9", Identity(uid: 9, gid: 9)),
            ("123", Identity(uid: 7, gid: 8)),
        ])
    func identities(text: String, expected: Identity) throws {
        #expect(try accounts.identity(text) == expected)
    }

    @Test(
        "whom nobody knows is refused", arguments: ["nobody", "app:nogroup", "-1", "4294967295", "0:4294967295", "a b"])
    func unknown(text: String) {
        let failure = #expect(throws: GuestFailure.self) { try accounts.identity(text) }
        #expect(failure?.code == .user)
    }

    @Test("an image without accounts has numbers")
    func none() throws {
        let none = Accounts(passwd: [], group: [])
        #expect(try none.identity("12:34") == Identity(uid: 12, gid: 34))
        #expect(try none.identity("") == Identity())
    }

    @Test("any bytes are read without a trap")
    func random() {
        let seed = TestSize.seed("accounts")
        for number in 0..<500 {
            var generator = SeededGenerator(seed: seed &+ UInt64(number))
            let bytes = (0..<200).map { _ in
                generator.chance(40) ? generator.pick(Array(":\n,0123".utf8)) : generator.byte()
            }
            let accounts = Accounts(passwd: bytes, group: bytes)
            _ = try? accounts.identity(String(decoding: bytes.prefix(20), as: UTF8.self))
        }
    }

    @Test("of variables the last one counts, and what is missing is added")
    func environment() {
        let merged = CommandEnvironment.merged(
            [["A=1", "B=2", "PATH=/x"], ["A=3", "nothing", "=x", "C="]], home: "/h", hasTerminal: true)
        #expect(merged == ["A=3", "B=2", "PATH=/x", "C=", "HOME=/h", "TERM=xterm"])
        #expect(
            CommandEnvironment.merged([["HOME=/own"]], home: "/h", hasTerminal: false)
                == ["HOME=/own", CommandEnvironment.defaultPath])
    }

    @Test("memory is what the kernel says")
    func memory() {
        let counts = MemoryCounts(lines: ["MemTotal:  222608 kB", "MemAvailable: 12 kB", "x", "MemTotal: -1 kB"])
        #expect(counts.total == 222_608 << 10 && counts.available == 12 << 10)
    }
}
