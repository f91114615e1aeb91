/// A streaming decoder of one compressed format.
protocol Decompressor: AnyObject {
    /// Decodes what it can; makes progress whenever the input is not empty or decoded bytes are still held back.
    func decode(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) throws(RootFSError) -> (consumed: Int, produced: Int)

    /// Whether the input may end here: between two gzip members or zstd frames.
    var isAtBoundary: Bool { get }
}
