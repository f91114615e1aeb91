import Foundation
import Glibc

/// Debian's `docker-registry` on a loopback port, in a directory of its own.
///
/// It is started below a shell that kills it when its standard input ends: when the test stops it, and when the test
/// process dies in whatever way.
package final class RealRegistry: Sendable {
    package enum Access: Sendable {
        case anonymous
        case password(user: String, password: String)
    }

    package let port: Int
    package let directory: TemporaryDirectory
    private let lifeline: FileHandle
    private let process: Process

    package var host: String { "127.0.0.1:\(port)" }

    /// - Parameter certificate: paths of certificate and key in PEM form; then it speaks TLS.
    package init(_ access: Access, certificate: (String, String)? = nil) async throws {
        directory = try TemporaryDirectory()
        port = try freePort()
        var config = """
            version: 0.1
            log: {level: error}
            storage: {filesystem: {rootdirectory: \(directory.path)/data}, delete: {enabled: true}}
            http:
              addr: 127.0.0.1:\(port)

            """
        if let (certificate, key) = certificate {
            config += "  tls: {certificate: \(certificate), key: \(key)}\n"
        }
        if case .password(let user, let password) = access {
            let line = try await Command.run("htpasswd", ["-Bbn", "-C", "5", user, password])
            try directory.write(line, to: "htpasswd")
            config += "auth: {htpasswd: {realm: test, path: \(directory.path)/htpasswd}}\n"
        }
        try directory.write(config.utf8, to: "config.yml")

        let input = Pipe()
        lifeline = input.fileHandleForWriting
        process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = [
            "-c",
            "docker-registry serve '\(directory.path)/config.yml' >'\(directory.path)/log' 2>&1 </dev/null & p=$!; "
                + "read line; kill -9 $p",
        ]
        process.standardInput = input.fileHandleForReading
        // Only the shell may hold the other end, or the registry would outlive the tests.
        _ = fcntl(lifeline.fileDescriptor, F_SETFD, FD_CLOEXEC)
        try process.run()
        try await waitUntilItListens()
    }

    package func stop() {
        do {
            try lifeline.close()
        } catch {
            print("the registry's lifeline: \(error)")
        }
    }

    /// Stops it and waits until nothing listens any more.
    package func stopAndWait() async throws {
        stop()
        let end = ContinuousClock.now + .seconds(20)
        while connects(port) {
            guard ContinuousClock.now < end else {
                throw Command.Failure(description: "docker-registry still listens on \(port)")
            }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    private func waitUntilItListens() async throws {
        let end = ContinuousClock.now + .seconds(20)
        while ContinuousClock.now < end {
            if connects(port) { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        let log = try String(contentsOfFile: "\(directory.path)/log", encoding: .utf8)
        stop()
        throw Command.Failure(description: "docker-registry does not listen on \(port): \(log)")
    }

    /// Pushes an image of a layout directory, as it is.
    package func push(layout: String, tag: String, to name: String, credentials: String? = nil, all: Bool = false)
        async throws
    {
        try await Command.run(
            "skopeo",
            ["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
                + (all ? ["--all"] : [])
                + (credentials.map { ["--dest-creds", $0] } ?? ["--dest-no-creds"])
                + ["oci:\(layout):\(tag)", "docker://\(host)/\(name)"])
    }
}

private func freePort() throws -> Int {
    try withLoopbackSocket { socket, address, length in
        guard bind(socket, address, length) == 0 else { return nil }
        var size = length
        guard getsockname(socket, address, &size) == 0 else { return nil }
        return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
            Int(UInt16(bigEndian: $0.pointee.sin_port))
        }
    }
}

private func connects(_ port: Int) -> Bool {
    let result: Bool? = try? withLoopbackSocket(port: port) { socket, address, length in
        connect(socket, address, length) == 0
    }
    return result ?? false
}

private func withLoopbackSocket<Value>(
    port: Int = 0, _ body: (Int32, UnsafeMutablePointer<sockaddr>, socklen_t) -> Value?
) throws -> Value {
    let handle = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(handle) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    address.sin_port = UInt16(port).bigEndian
    let value = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            body(handle, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    guard let value else { throw Command.Failure(description: "loopback socket: \(errno)") }
    return value
}
