import SandboxAPI

/// Puts the events of one command together. A value: tests need no server.
struct CommandEvents: Sendable {
    private var output: Channel
    private var errors: Channel
    private var isStarted = false
    private(set) var exitCode: Int32?
    /// What the server said about trouble on the way; it does not end the command.
    private(set) var complaint: String?

    /// - Parameter limit: the most bytes of standard output, and of standard error (there at least 64 KiB); `nil` for a
    ///   listener: nothing is kept.
    init(limit: Int?) {
        output = Channel(limit: limit)
        errors = Channel(limit: limit.map { max($0, 64 << 10) })
    }

    /// - Returns: what a listener should hear of it.
    /// - Throws: `outputTooLarge`; `unavailable` when bytes of the output are missing.
    mutating func take(_ event: CommandEvent) throws(SandboxError) -> CommandProgress? {
        switch event.event {
        case .started:
            defer { isStarted = true }
            return isStarted ? nil : .started
        case .stdout(let chunk):
            try output.add(chunk)
            return chunk.data.isEmpty ? nil : .output(Array(chunk.data))
        case .stderr(let chunk):
            try errors.add(chunk)
            return chunk.data.isEmpty ? nil : .errors(Array(chunk.data))
        case .finished(let end): exitCode = Self.exitCode(end.exitCode)
        case .error(let error): complaint = String(error.reason.prefix(500))
        case .evicted(let evicted):
            guard evicted.droppedBytesStdout != 0 || evicted.droppedBytesStderr != 0 else { return nil }
            throw SandboxError(
                .unavailable,
                "the API dropped \(evicted.droppedBytesStdout) + \(evicted.droppedBytesStderr) bytes of the output",
                isInDoubt: true
            )
        case nil: break  // A kind of event of a later version.
        }
        return nil
    }

    /// What the command left. Only Finished says that it ended; a stream's end does not.
    func finished() throws(SandboxError) -> CommandOutput {
        guard let exitCode else {
            let why = complaint.map { ": \($0)" } ?? ""
            throw SandboxError(
                .unavailable,
                isStarted
                    ? "the stream of the command ended without its exit code\(why)"
                    : "the stream ended before the command started\(why)",
                isInDoubt: true
            )
        }
        return CommandOutput(exitCode: exitCode, standardOutput: output.bytes, standardError: errors.bytes)
    }

    /// 0…255. Where a server tells a signal as a negative number, 128 + n as in a shell. Whatever it tells that is not 0
    /// stays a failure.
    static func exitCode(_ code: Int32) -> Int32 {
        if (-127 ... -1).contains(code) { return 128 - code }
        let low = code & 0xFF
        return low == 0 && code != 0 ? 255 : low
    }

    /// One of the two streams of bytes that a command writes.
    private struct Channel: Sendable {
        let limit: Int?
        var bytes: [UInt8] = []
        private var count: Int64 = 0

        init(limit: Int?) {
            self.limit = limit
        }

        mutating func add(_ chunk: CommandEvent.Output) throws(SandboxError) {
            if let limit {
                guard chunk.data.count <= limit - bytes.count else {
                    throw SandboxError(.outputTooLarge, "it wrote more than \(limit) bytes")
                }
                bytes += chunk.data
            }
            count += Int64(chunk.data.count)
            // Cumulative, at the chunk's end. A server that does not count says 0.
            guard chunk.byteOffset == 0 || chunk.byteOffset == count else {
                throw SandboxError(
                    .unavailable, "the API's output has a gap: \(count) bytes came of \(chunk.byteOffset)",
                    isInDoubt: true)
            }
        }
    }
}
