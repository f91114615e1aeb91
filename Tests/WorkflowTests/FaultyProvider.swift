import Foundation
import Glibc
import Synchronization
import WorkflowTesting

/// Gives sandboxes to worker processes over a socket, counts what it did, and does not always say so.
///
/// One request a connection, one line each way: `VERB SENT KEY ARGUMENT`, with the milliseconds of 1970 when it was sent, and
/// a number like those of HTTP with a text. A request that is older than ``patience`` is refused, as signed requests are: so
/// what a process sends that was stopped for the length of its lease does nothing.
final class FaultyProvider: Sendable {
    /// How old a request may be, in milliseconds. Shorter than what callers wait for an answer, and than the shortest lease.
    static let patience: Int64 = 500

    struct Box: Sendable {
        let id: String
        let key: String
        var isAlive = true
    }

    /// What it did.
    struct Books: Sendable {
        var boxes: [Box] = []
        var releases = 0
        var lost = 0
        /// How often each effect happened, by its name and idempotency key.
        var effects: [String: [String: Int]] = [:]
        var requests = 0
        /// By what went wrong.
        var faults: [String: Int] = [:]
    }

    private struct State {
        var books = Books()
        var random: SeededGenerator
        var isOver = false
        var isCalm = false
    }

    private enum Fault: String {
        case tooMany = "429"
        case broken = "500"
        case brokenAfter = "500 after the effect"
        case lost = "no answer"
        case lostAfter = "no answer after the effect"
        case slow
    }

    let path: String
    private let listener: Int32
    private let state: Mutex<State>

    init(path: String, seed: UInt64) throws {
        self.path = path
        state = Mutex(State(random: SeededGenerator(seed: seed)))
        listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        let code = UnixSocket.withAddress(path) { bind(listener, $0, $1) }
        guard listener >= 0, code == 0, listen(listener, 128) == 0 else { throw Glitch(what: "listening at \(path)") }
        let thread = Thread { [self] in accept() }
        thread.start()
    }

    var books: Books { state.withLock { $0.books } }

    /// Nothing goes wrong any more.
    func calmDown() { state.withLock { $0.isCalm = true } }

    func close() {
        state.withLock { $0.isOver = true }
        shutdown(listener, Int32(SHUT_RDWR))
    }

    private func accept() {
        while true {
            let client = Glibc.accept(listener, nil, nil)
            guard client >= 0, !state.withLock({ $0.isOver }) else { break }
            let thread = Thread { [self] in
                serve(client)
                Glibc.close(client)
            }
            thread.start()
        }
        Glibc.close(listener)
    }

    private func serve(_ client: Int32) {
        var patience = timeval(tv_sec: 5, tv_usec: 0)
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        guard let line = UnixSocket.readLine(client) else { return }
        let words = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        guard words.count == 4, let sent = Int64(words[1]) else { return }
        let (answer, delay) = state.withLock { Self.answer(to: words, sent: sent, &$0) }
        if delay > 0 { usleep(UInt32(delay) * 1000) }
        if let answer { UnixSocket.write(answer + "\n", client) }
    }

    /// - Returns: what is said, if anything, and after how many milliseconds.
    private static func answer(to words: [String], sent: Int64, _ state: inout State) -> (String?, Int) {
        state.books.requests += 1
        let age = Int64(Date().timeIntervalSince1970 * 1000) - sent
        guard age < patience else {
            state.books.faults["refused as too old", default: 0] += 1
            return ("408 too old", 0)
        }
        let fault = state.isCalm ? nil : draw(&state.random)
        if let fault { state.books.faults[fault.rawValue, default: 0] += 1 }
        switch fault {
        case .tooMany: return ("429 later", 0)
        case .broken: return ("500 broken", 0)
        case .lost: return (nil, 0)
        case nil, .brokenAfter, .lostAfter, .slow: break
        }
        let answer = perform(words[0], key: words[2], words[3], &state)
        switch fault {
        case .brokenAfter: return ("500 broken", 0)
        case .lostAfter: return (nil, 0)
        case .slow: return (answer, state.random.number(50...1000))
        default: return (answer, 0)
        }
    }

    private static func draw(_ random: inout SeededGenerator) -> Fault? {
        switch random.number(0...99) {
        case 0..<5: .tooMany
        case 5..<9: .broken
        case 9..<12: .brokenAfter
        case 12..<15: .lost
        case 15..<19: .lostAfter
        case 19..<26: .slow
        default: nil
        }
    }

    private static func perform(_ verb: String, key: String, _ argument: String, _ state: inout State) -> String {
        func place(of id: String) -> Int? { state.books.boxes.firstIndex { $0.id == id && $0.isAlive } }
        switch verb {
        case "create":
            let id = "box-\(state.books.boxes.count + 1)"
            state.books.boxes.append(Box(id: id, key: key))
            return "200 \(id)"
        case "find":
            return "200 " + state.books.boxes.filter { $0.isAlive && $0.key == key }.map(\.id).joined(separator: ",")
        case "alive":
            return place(of: argument) == nil ? "404 gone" : "200 alive"
        case "release":
            if let index = place(of: argument) {
                state.books.boxes[index].isAlive = false
                state.books.releases += 1
            }
            return "200 gone"
        case "pull":
            guard let index = place(of: argument) else { return "404 gone" }
            if !state.isCalm, state.random.number(0...99) == 0 {
                state.books.boxes[index].isAlive = false
                state.books.lost += 1
                return "404 gone"
            }
            state.books.effects[verb, default: [:]][key, default: 0] += 1
            return "200 done"
        case "has":
            return state.books.effects[argument]?[key] == nil ? "200 no" : "200 yes"
        default:
            state.books.effects[verb, default: [:]][key, default: 0] += 1
            return "200 done"
        }
    }
}

/// What a test's servers need of sockets on this machine.
enum UnixSocket {
    static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { place in
            place.copyBytes(from: path.utf8.prefix(place.count - 1))
        }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    /// A line without its end, of at most 4096 bytes; `nil` if there is none.
    static func readLine(_ descriptor: Int32) -> String? {
        var bytes: [UInt8] = []
        while bytes.count < 4096 {
            var byte: UInt8 = 0
            guard read(descriptor, &byte, 1) == 1 else { return nil }
            if byte == UInt8(ascii: "\n") { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(byte)
        }
        return nil
    }

    static func write(_ text: String, _ descriptor: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }
}
