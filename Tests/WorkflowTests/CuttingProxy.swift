import Foundation
import Glibc
import Synchronization
import class TestSupport.TestPostgres
import Testing

/// Stands between a store and its server, passes on what they say, and cuts a connection where a test wants it cut.
final class CuttingProxy: Sendable {
    enum Cut: Sendable {
        /// The server never sees the COMMIT.
        case beforeCommit
        /// The server commits, and its answer is lost.
        case afterCommit
    }

    private struct State {
        var cuts: [Cut] = []
        var done = 0
        var turns = 0
        var isOver = false
        var isHeldUp = false
        var isRefusing = false
        var open: Set<Int32> = []
    }

    let directory: String
    private let target: String
    private let listener: Int32
    private let state = Mutex(State())

    /// How a prepared COMMIT is named on the wire: between the names of the portal and of the statement stands a zero.
    private static let commit = Data([0]) + Data("commit".utf8) + Data([0])
    private static let socketName = ".s.PGSQL.5432"

    init(before server: TestPostgres, in directory: String) throws {
        self.directory = directory
        target = server.directory + "/" + Self.socketName
        listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        try #require(listener >= 0)
        let code = UnixSocket.withAddress(directory + "/" + Self.socketName) { bind(listener, $0, $1) }
        try #require(code == 0 && listen(listener, 16) == 0)
        let thread = Thread { [self] in accept() }
        thread.start()
    }

    func address(schema: String) -> String {
        "postgresql:///postgres?host=\(directory)&user=postgres&options=-csearch_path%3D\(schema)"
    }

    /// Cuts once at the next COMMIT that comes by.
    func cutNext(_ cut: Cut) { state.withLock { $0.cuts.append(cut) } }

    /// How often it has cut.
    var cuts: Int { state.withLock { $0.done } }

    /// How often a client spoke after the server had.
    var turns: Int { state.withLock { $0.turns } }

    /// Cuts every connection that is open.
    func cutAll() {
        state.withLock { state in
            for descriptor in state.open { shutdown(descriptor, Int32(SHUT_RDWR)) }
        }
    }

    /// Keeps to itself what anybody says from now on, or passes it all on: a network that loses nothing and delivers late.
    func holdUp(_ isHeldUp: Bool) { state.withLock { $0.isHeldUp = isHeldUp } }

    /// Cuts every connection and lets nobody in, or lets them in again.
    func refuse(_ isRefusing: Bool) {
        state.withLock { $0.isRefusing = isRefusing }
        if isRefusing { cutAll() }
    }

    func close() {
        state.withLock { $0.isOver = true }
        shutdown(listener, Int32(SHUT_RDWR))
        cutAll()
    }

    private func accept() {
        while true {
            let client = Glibc.accept(listener, nil, nil)
            guard client >= 0, !state.withLock({ $0.isOver }) else { break }
            guard !state.withLock({ $0.isRefusing }) else {
                Glibc.close(client)
                continue
            }
            let server = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            guard UnixSocket.withAddress(target, { connect(server, $0, $1) }) == 0 else {
                Glibc.close(server)
                Glibc.close(client)
                continue
            }
            state.withLock { $0.open.formUnion([client, server]) }
            let thread = Thread { [self] in
                pass(client, server)
                state.withLock { $0.open.subtract([client, server]) }
                Glibc.close(client)
                Glibc.close(server)
            }
            thread.start()
        }
        Glibc.close(listener)
    }

    private func pass(_ client: Int32, _ server: Int32) {
        var serverSpokeLast = false
        while true {
            var entries = [client, server].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            guard poll(&entries, 2, -1) > 0 else { return }
            while state.withLock({ $0.isHeldUp && !$0.isOver }) { usleep(5_000) }
            if entries[0].revents != 0 {
                guard let said = Self.read(client) else { return }
                if serverSpokeLast { state.withLock { $0.turns += 1 } }
                serverSpokeLast = false
                var cut: Cut?
                if said.firstRange(of: Self.commit) != nil {
                    cut = state.withLock { state in state.cuts.isEmpty ? nil : state.cuts.removeFirst() }
                }
                if case .beforeCommit? = cut { return state.withLock { $0.done += 1 } }
                guard Self.write(said, server) else { return }
                if case .afterCommit? = cut {
                    _ = Self.read(server)
                    return state.withLock { $0.done += 1 }
                }
            }
            if entries[1].revents != 0 {
                guard let said = Self.read(server), Self.write(said, client) else { return }
                serverSpokeLast = true
            }
        }
    }

    private static func read(_ descriptor: Int32) -> Data? {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let count = Glibc.read(descriptor, &buffer, buffer.count)
        return count > 0 ? Data(buffer.prefix(count)) : nil
    }

    private static func write(_ data: Data, _ descriptor: Int32) -> Bool {
        var rest = Array(data)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }
}
