extension SandboxProvider {
    /// Streams a command and hands over its standard output in pieces of some size, the last one of what is left.
    ///
    /// - Returns: the exit code, and the end of what the command complained of.
    package func streamPieces(
        of size: Int = 1 << 20, _ command: StreamedCommand, in id: SandboxID,
        onPiece: ([UInt8]) async throws -> Void
    ) async throws -> (exitCode: Int32, complaint: String) {
        var piece: [UInt8] = []
        var complaint: [UInt8] = []
        let exitCode = try await stream(command, in: id) { progress in
            switch progress {
            case .started: break
            case .errors(let bytes): complaint = (complaint + bytes).suffix(1000)
            case .output(let bytes):
                piece += bytes
                guard piece.count >= size else { return }
                let full = piece
                piece = []
                try await onPiece(full)
            }
        }
        try await onPiece(piece)
        return (exitCode, String(decoding: complaint, as: UTF8.self))
    }
}
