import Foundation
import Glibc

extension Peer {
    /// A sandbox as the peer sees it.
    package struct Sandbox: Decodable, Sendable {
        package let id: String
        package let org: String
        package let name: String?
        package let env: [String: String]
        /// The number of the API's SandboxStatus.
        package let status: Int
        package let error: String?

        package var isTerminal: Bool { (5...7).contains(status) }
    }

    /// The answer of the control endpoint.
    package struct Report: Decodable, Sendable {
        /// The ids of the sandboxes that the document asked for.
        package let made: [String]
        /// Newest first.
        package let sandboxes: [Sandbox]
        package let living: Int
        /// How many sandboxes have processes.
        package let processes: Int
    }

    /// A line of the journal; which members it has depends on the event. See peer.py.
    package struct Event: Decodable, Sendable {
        package let time: Double
        package let event: String
        package let number: Int?
        package let method: String?
        package let org: String?
        package let sandbox: String?
        package let outcome: String?
        package let fault: String?
        package let name: String?
        package let argv: [String]?
        package let env: [String: String]?
        package let path: String?
        package let minutes: Int?
    }

    /// Carries out a control document: see Tests/Peer/fake/control.py and faults.py.
    @discardableResult
    package func control(_ document: [String: Any] = [:], organization: String = "*") throws -> Report {
        var document = document
        document["org"] = organization
        let answer = try exchange(try JSONSerialization.data(withJSONObject: document))
        guard answer.status == 200 else {
            throw Command.Failure(description: "control: \(String(decoding: answer.body, as: UTF8.self))")
        }
        return try JSONDecoder().decode(Report.self, from: answer.body)
    }

    /// Changes how it behaves: the names and defaults are in Tests/Peer/fake/faults.py.
    package func set(_ settings: [String: Any], organization: String = "*") throws {
        try control(["settings": settings], organization: organization)
    }

    /// From now on the nth call of the method goes wrong.
    package func fault(
        _ method: String, _ fault: String, nth: Int = 1, times: Int = 1, organization: String = "*",
        _ more: [String: Any] = [:]
    ) throws {
        let rule: [String: Any] = ["method": method, "fault": fault, "nth": nth, "times": times]
        try control(["rules": [rule.merging(more) { $1 }]], organization: organization)
    }

    /// What happened so far; only these events, if any are named.
    package func journal(_ events: String..., organization: String? = nil) throws -> [Event] {
        let lines = try Data(contentsOf: URL(fileURLWithPath: state + "/journal")).split(separator: UInt8(ascii: "\n"))
        return try lines.map { try JSONDecoder().decode(Event.self, from: $0) }.filter {
            (events.isEmpty || events.contains($0.event)) && (organization == nil || $0.org == organization)
        }
    }

    /// POST over the socket; half a minute at most.
    private func exchange(_ body: Data) throws -> (status: Int, body: Data) {
        let handle = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        defer { close(handle) }
        var limit = timeval(tv_sec: 30, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(handle, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        guard connect(handle, to: socket) else { throw Command.Failure(description: "connect \(socket): \(errno)") }
        let head =
            "POST /_control HTTP/1.1\r\nhost: peer\r\nconnection: close\r\ncontent-type: application/json\r\n"
            + "content-length: \(body.count)\r\n\r\n"
        var request = Data(head.utf8) + body
        while !request.isEmpty {
            let count = request.withUnsafeBytes { send(handle, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { throw Command.Failure(description: "send to the peer: \(errno)") }
            request = Data(request.dropFirst(count))
        }
        var answer = Data()
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = recv(handle, &buffer, buffer.count, 0)
            guard count >= 0 else { throw Command.Failure(description: "receive from the peer: \(errno)") }
            if count == 0 { break }
            answer.append(contentsOf: buffer[..<count])
        }
        guard let end = answer.range(of: Data("\r\n\r\n".utf8)),
            let status = String(decoding: answer[..<end.lowerBound], as: UTF8.self).split(separator: " ")
                .dropFirst().first.flatMap({ Int($0) })
        else { throw Command.Failure(description: "the peer's control answered \(answer.count) bytes of something") }
        return (status, Data(answer[end.upperBound...]))
    }
}

private func connect(_ handle: Int32, to path: String) -> Bool {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let room = MemoryLayout.size(ofValue: address.sun_path)
    guard path.utf8.count < room else { return false }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    return withUnsafePointer(to: address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(handle, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
        }
    }
}
