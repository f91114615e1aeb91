import Files
import Glibc
import GuestProtocol

extension VMProvider {
    package func writeFile(
        _ path: String, mode: UInt16, contents: FileContents, in id: SandboxID
    ) async throws {
        guard path.hasPrefix("/"), !path.hasSuffix("/"), !path.utf8.contains(0), mode <= 0o7777 else {
            throw SandboxError(.invalidArgument, "\(path) is not an absolute path of a file, or its mode is not one")
        }
        try await onOwnThread(cancellable: { cancel in
            let input = try CommandInput(contents)
            let deadline = Self.deadline(bytes: input.size)
            let outcome = try converse(
                .writeFile(path: path, mode: mode), in: id, input: input, feeds: true, watch: cancel,
                sink: .gather(limit: 0), deadline: deadline)
            try requireDone(outcome, "write \(path) in sandbox \(id)", deadline)
        })
    }

    package func readFile(_ path: String, limit: Int, in id: SandboxID) async throws -> [UInt8] {
        try await onOwnThread(cancellable: { cancel in
            let deadline = Self.deadline(bytes: UInt64(max(0, limit)))
            let outcome = try converse(
                .readFile(path: path, limit: UInt64(max(0, limit))), in: id, input: CommandInput(nil), feeds: false,
                watch: cancel, sink: .gather(limit: max(0, limit)), deadline: deadline)
            if case .trouble(.tooMuchOutput) = outcome.end {
                throw SandboxError(.outputTooLarge, "\(path) in sandbox \(id) is larger than \(limit) bytes")
            }
            try requireDone(outcome, "read \(path) in sandbox \(id)", deadline)
            return outcome.output
        })
    }

    /// Room for emulated guests on slow hosts: 1 MiB a second.
    private static func deadline(bytes: UInt64) -> Duration {
        .seconds(60) + .seconds(Int64(clamping: bytes >> 20))
    }

    private func requireDone(
        _ outcome: GuestConversation.Outcome, _ what: String, _ deadline: Duration
    ) throws(SandboxError) {
        switch outcome.end {
        case .done: return
        case .trouble(.failed(let failure)):
            throw SandboxError(Self.code(failure, file: true), "cannot \(what): \(failure.message)")
        case .trouble(.timedOut):
            throw SandboxError(.deadlineExceeded, "cannot \(what) within \(deadline); try again")
        case .exited, .trouble:
            throw SandboxError(.unavailable, "cannot \(what): the guest did not say whether it did; try again")
        }
    }
}
