import Glibc
import Workflow

/// Kills this very process at a named point, so that tests can prove what a crash there leaves behind.
///
/// `SNAPWF_TEST_CRASH_AT=step:pull:effect.before` dies there by SIGKILL; `SNAPWF_TEST_TRACE_POINTS=FILE` appends the
/// name of each point that is passed. Neither can do more than `kill -9` by hand can.
struct CrashPoints: Sendable {
    private let crashAt: String?
    private let traceFile: String?

    init?(_ variables: [String: String]) {
        crashAt = variables["SNAPWF_TEST_CRASH_AT"]
        traceFile = variables["SNAPWF_TEST_TRACE_POINTS"]
        if crashAt == nil, traceFile == nil { return nil }
    }

    /// For the engine. Where nothing is tested it has nobody who looks: that would cost each commit a second round trip.
    var look: @Sendable (CrashPoint) -> Void { { pass($0.description) } }

    func pass(_ point: String) {
        if let traceFile {
            let file = open(traceFile, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
            if file >= 0 {
                let line = Array("\(point)\n".utf8)
                _ = line.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
                close(file)
            }
        }
        if point == crashAt { kill(getpid(), SIGKILL) }
    }
}
