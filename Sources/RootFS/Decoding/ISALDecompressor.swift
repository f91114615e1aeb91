import CISAL

/// Gzip (RFC 1952) by ISA-L. Several members in a row are one stream, as every container runtime reads them.
///
/// Headers are read here and not by the library, so that they are judged as zlib does.
final class ISALDecompressor: Decompressor {
    private enum State {
        case boundary
        case header(GzipHeader)
        case body
    }

    private let inflater: OpaquePointer
    private var state = State.boundary
    private var members = 0

    init() throws(RootFSError) {
        guard let inflater = cisal_inflater_create() else {
            throw RootFSError(.compression, "ISA-L could not be set up: the library is not there, or memory is out")
        }
        self.inflater = inflater
    }

    deinit {
        cisal_inflater_destroy(inflater)
    }

    var isAtBoundary: Bool {
        if case .boundary = state { return true }
        return false
    }

    func decode(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) throws(RootFSError) -> (consumed: Int, produced: Int) {
        var rest = input
        var produced = 0
        // On to the next member where one ends without output: its trailer may have been read in an earlier call.
        while produced == 0 {
            switch state {
            case .boundary:
                guard let first = rest.first else { return (input.count, 0) }
                guard first == 0x1F else {
                    throw RootFSError(.compression, "there is garbage after the end of the gzip data")
                }
                state = .header(GzipHeader())
            case .header(var header):
                let (consumed, isComplete) = try header.read(rest)
                rest = UnsafeRawBufferPointer(rebasing: rest[consumed...])
                state = isComplete ? .body : .header(header)
                guard isComplete else { return (input.count, 0) }
                cisal_inflater_begin(inflater)
            case .body:
                let consumed: Int
                (consumed, produced) = try inflate(rest, into: output)
                rest = UnsafeRawBufferPointer(rebasing: rest[consumed...])
                if case .body = state { return (input.count - rest.count, produced) }
            }
        }
        return (input.count - rest.count, produced)
    }

    private func inflate(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) throws(RootFSError) -> (consumed: Int, produced: Int) {
        var consumed = input.count
        var produced = output.count
        let status = cisal_inflate(
            inflater, input.baseAddress?.assumingMemoryBound(to: UInt8.self), &consumed,
            output.baseAddress?.assumingMemoryBound(to: UInt8.self), &produced)
        switch status {
        case CISAL_MORE: break
        case CISAL_END:
            state = .boundary
            members += 1
        default:
            throw RootFSError(
                .compression, "the gzip data is corrupt (\(Self.reason(status)), member \(members + 1))")
        }
        return (consumed, produced)
    }

    private static func reason(_ status: cisal_status) -> String {
        switch status {
        case CISAL_BAD_BLOCK: "invalid block"
        case CISAL_BAD_SYMBOL: "invalid code"
        case CISAL_BAD_DISTANCE: "invalid distance too far back"
        case CISAL_BAD_CHECKSUM: "incorrect data or length check"
        default: "ISA-L error"
        }
    }
}
