import Foundation
import Glibc
import Synchronization
import Testing

/// The programs under test and the tools that judge them.
enum Programs {
    /// `SNAPWF_BIN`, else where `make build` puts the release programs.
    static let directory: String = {
        if let directory = ProcessInfo.processInfo.environment["SNAPWF_BIN"] { return directory }
        return repository + "/.build-release/release"
    }()

    static var snapwf: String { directory + "/snapwf" }
    static var snapshot: String { directory + "/snapshot" }

    static let repository: String = {
        var parts = #filePath.split(separator: "/")
        parts.removeLast(4)
        return "/" + parts.joined(separator: "/")
    }()

    static func fixture(_ name: String) -> String { repository + "/Tests/EndToEndTests/Fixtures/" + name }
}

/// What a finished process left.
struct Finished: Sendable {
    /// 128 + n when signal n ended it.
    var status: Int32
    var output: String
    var errors: String

    /// Both streams, for a failed expectation's message.
    var everything: String { "exit \(status)\nstdout: \(output)\nstderr: \(errors)" }

    func json() throws -> [String: Any] {
        let value = try JSONSerialization.jsonObject(with: Data(output.utf8))
        return try #require(value as? [String: Any])
    }
}

/// A child process with its output in files, so that no pipe can fill and nothing it leaves behind holds us up.
final class Child: @unchecked Sendable {
    // Process is safe to use from several threads once it runs: we only wait for it and send signals.
    let process = Process()
    private let directory: String

    init(_ executable: String, _ arguments: [String], environment: [String: String] = [:], input: String? = nil) throws
    {
        directory = try makeTemporaryDirectory("child")
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        for (name, path) in [("stdout", directory + "/stdout"), ("stderr", directory + "/stderr")] {
            try Data().write(to: URL(fileURLWithPath: path))
            let handle = try #require(FileHandle(forWritingAtPath: path))
            if name == "stdout" { process.standardOutput = handle } else { process.standardError = handle }
        }
        try process.run()
    }

    deinit {
        if process.isRunning { Glibc.kill(process.processIdentifier, SIGKILL) }
        try? FileManager.default.removeItem(atPath: directory)
    }

    var pid: pid_t { process.processIdentifier }
    var outputSoFar: String { text("stdout") }
    var errorsSoFar: String { text("stderr") }

    func signal(_ number: Int32) { Glibc.kill(pid, number) }

    /// Waits for the end; a process that outlives the deadline is killed and the test fails.
    @discardableResult
    func wait(_ deadline: Duration = .seconds(120)) async throws -> Finished {
        let end = ContinuousClock.now + deadline
        while process.isRunning {
            guard ContinuousClock.now < end else {
                Glibc.kill(pid, SIGKILL)
                Issue.record("\(process.arguments ?? []) did not end in \(deadline); \(text("stderr"))")
                break
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        process.waitUntilExit()
        let status =
            process.terminationReason == .uncaughtSignal
            ? 128 + process.terminationStatus : process.terminationStatus
        return Finished(status: status, output: text("stdout"), errors: text("stderr"))
    }

    private func text(_ name: String) -> String {
        guard let data = FileManager.default.contents(atPath: directory + "/" + name) else { return "" }
        return String(decoding: data, as: UTF8.self)
    }
}

/// Runs a tool that must succeed.
@discardableResult
func tool(_ command: String..., environment: [String: String] = [:]) async throws -> Finished {
    let finished = try await Child("/usr/bin/env", command, environment: environment).wait(.seconds(600))
    try #require(finished.status == 0, "\(command): \(finished.everything)")
    return finished
}

/// A directory that goes away with the test process; what is large in it, its test removes before.
func makeTemporaryDirectory(_ name: String) throws -> String {
    let path = NSTemporaryDirectory() + "snapwf-\(name)-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    TemporaryDirectories.add(path)
    return path
}

/// All that were made; removed when the process ends.
private enum TemporaryDirectories {
    private static let paths = Mutex<[String]>([])
    private static let removal: Void = { _ = atexit { TemporaryDirectories.removeAll() } }()

    static func add(_ path: String) {
        removal
        paths.withLock { $0.append(path) }
    }

    private static func removeAll() {
        for path in paths.withLock({ $0 }) where FileManager.default.fileExists(atPath: path) {
            do {
                try FileManager.default.removeItem(atPath: path)
            } catch {
                print("the temporary directory \(path) stays: \(error)")
            }
        }
    }
}

/// Waits until `condition` holds; the test fails when it does not in time.
func eventually(
    _ what: String, within deadline: Duration = .seconds(60), _ condition: () async throws -> Bool
) async throws {
    let end = ContinuousClock.now + deadline
    while try await !condition() {
        try #require(ContinuousClock.now < end, "not in time: \(what)")
        try await Task.sleep(for: .milliseconds(20))
    }
}
