/// The decoder of a layer that is stored as it is.
final class PlainCopy: Decompressor {
    var isAtBoundary: Bool { true }

    func decode(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) throws(RootFSError) -> (consumed: Int, produced: Int) {
        let count = min(input.count, output.count)
        output.copyMemory(from: UnsafeRawBufferPointer(rebasing: input[..<count]))
        return (count, count)
    }
}
