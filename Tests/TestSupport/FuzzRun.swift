import Foundation
import Glibc

/// Many rounds of something that damaged input must not break, in a process of their own: an exit test's.
///
/// A round that crashes, hangs, fills memory or fails ends the process, which then has said which seed brings that
/// round back. How much is done is counted and not timed, so that it can be repeated.
package struct FuzzRun: Codable, Sendable {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String

        package init(_ description: String) { self.description = description }
    }

    private let name: String
    private let seed: UInt64
    private let count: Int
    private let memory: Int
    private let log: String

    /// - Parameter memory: how many bytes the process may grow by while it works.
    /// - Parameter log: a file to be made for what it has to say.
    package init(_ name: String, count: Int, memory: Int, log: String) {
        self.name = name
        // The same rounds each time but at full size: what nobody has met yet is not for a build to fail on.
        seed = TestSize.seed(name, otherwise: TestSize.isLong ? nil : 100_000)
        self.count = count
        self.memory = memory
        self.log = log
    }

    /// What the process said, for the test that started it: "passed" is in it when it did.
    package var said: String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "\(name): nothing was said" }

    /// Ends the process, after cleaning up unless a round crashed. Each round says in one word what came of it; the
    /// words are counted.
    package func rounds(
        _ round: (inout SeededGenerator) throws -> String, cleanUp: () -> Void = {}
    ) -> Never {
        var outcomes: [String: Int] = [:]
        speakOnDeath()
        let before = peakMemory()
        for number in 0..<UInt64(count) {
            let words = "\(name) dies at SNAPWF_TEST_SEED=\(seed &+ number)\n".utf8.prefix(Self.room)
            Self.lastWords.update(repeating: 0x20, count: Self.room)
            for (index, byte) in words.enumerated() { Self.lastWords[index] = byte }
            // Rounds take milliseconds.
            alarm(120)
            var generator = SeededGenerator(seed: seed &+ number)
            var failure: String?
            do {
                outcomes[try round(&generator), default: 0] += 1
                let growth = peakMemory() - before
                if growth > memory { failure = "grows by \(growth >> 20) MiB" }
            } catch {
                failure = "fails: \(error)"
            }
            if let failure {
                cleanUp()
                end(EXIT_FAILURE, "\(name): SNAPWF_TEST_SEED=\(seed &+ number) \(failure)")
            }
        }
        cleanUp()
        let counts = outcomes.sorted { $0.value > $1.value }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
        let growth = (peakMemory() - before) >> 20
        end(EXIT_SUCCESS, "\(name): \(count) rounds passed: \(counts); memory grew by \(growth) MiB")
    }

    private func end(_ status: Int32, _ message: String) -> Never {
        _ = Array(message.utf8).withUnsafeBytes { write(Self.logDescriptor, $0.baseAddress, $0.count) }
        exit(status)
    }

    /// Resident, at its highest, in bytes. What getrusage(2) says begins with the memory of the process that this one
    /// was forked from.
    private func peakMemory() -> Int {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") } ?? ""
        guard let kilobytes = Int(line.filter(\.isNumber)) else { end(EXIT_FAILURE, "\(name): /proc has no VmHWM") }
        return kilobytes << 10
    }

    // What a dying process says is prepared, because a signal handler can do little.
    private static let room = 96
    private nonisolated(unsafe) static let lastWords = UnsafeMutablePointer<UInt8>.allocate(capacity: room)
    private nonisolated(unsafe) static var logDescriptor: Int32 = -1

    private func speakOnDeath() {
        Self.logDescriptor = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGALRM] {
            signal(number) { number in
                _ = write(FuzzRun.logDescriptor, FuzzRun.lastWords, FuzzRun.room)
                signal(number, SIG_DFL)
                raise(number)
            }
        }
    }
}
