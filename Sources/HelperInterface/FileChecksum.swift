import Crypto
package import Files

/// SHA-256 of a whole file in hexadecimal, holes as zeros, and its size in bytes. Blocks.
package func sha256(of file: borrowing OpenFile) throws(FileError) -> (hex: String, size: UInt64) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    var hash = SHA256()
    var offset = 0
    while true {
        let count = try file.read(into: buffer, at: offset)
        if count == 0 { return (hexadecimal(hash.finalize()), UInt64(offset)) }
        hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        offset += count
    }
}
