package import Glibc

/// An open file that is closed when its owner lets go of it. All calls block.
package struct OpenFile: ~Copyable {
    package let descriptor: Int32
    package let path: String

    /// - Parameter flags: as for `open(2)`; `O_CLOEXEC` is always added.
    package init(_ path: String, _ flags: Int32, mode: mode_t = 0o600) throws(FileError) {
        self.path = path
        descriptor = try retryingInterrupts("open \(path)") { open(path, flags | O_CLOEXEC, mode) }
    }

    deinit { close(descriptor) }

    /// Writes all of `bytes` at the file's position.
    package func write(_ bytes: [UInt8]) throws(FileError) {
        var offset = 0
        while offset < bytes.count {
            offset += try retryingInterrupts("write \(path)") {
                bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + offset, $0.count - offset) }
            }
        }
    }

    /// Writes all of `bytes` at `offset`.
    package func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FileError) {
        try Self.write(descriptor, path, bytes, at: offset)
    }

    /// The same for a thread that only has the descriptor of a file that another one keeps open.
    package static func write(
        _ descriptor: Int32, _ path: String, _ bytes: UnsafeRawBufferPointer, at offset: Int
    ) throws(FileError) {
        var written = 0
        while written < bytes.count {
            written += try retryingInterrupts("write \(path)") {
                pwrite(descriptor, bytes.baseAddress! + written, bytes.count - written, offset + written)
            }
        }
    }

    /// Fills `buffer` from `offset`; less than its size only at the end of the file.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(FileError) -> Int {
        try Self.read(descriptor, path, into: buffer, at: offset)
    }

    /// The same for a thread that only has the descriptor of a file that another one keeps open.
    package static func read(
        _ descriptor: Int32, _ path: String, into buffer: UnsafeMutableRawBufferPointer, at offset: Int
    ) throws(FileError) -> Int {
        var filled = 0
        while filled < buffer.count {
            let count = try retryingInterrupts("read \(path)") {
                pread(descriptor, buffer.baseAddress! + filled, buffer.count - filled, offset + filled)
            }
            if count == 0 { break }
            filled += count
        }
        return filled
    }

    /// After this the file's bytes survive a power loss.
    package func sync() throws(FileError) {
        try retryingInterrupts("sync \(path)") { fsync(descriptor) }
    }

    package func status() throws(FileError) -> stat {
        var result = stat()
        try retryingInterrupts("look at \(path)") { fstat(descriptor, &result) }
        return result
    }
}
