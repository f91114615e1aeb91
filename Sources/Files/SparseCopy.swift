import Glibc

/// Copies a file with its holes: as a shared clone where the file system can, else range by range.
///
/// The copy is called `<destination>.partial` until it is whole and durable, then renamed; a crash leaves at worst
/// that partial file.
package func copySparseFile(_ source: String, to destination: String, mode: UInt32 = 0o644) throws(FileError) {
    let partial = destination + ".partial"
    let input = try OpenFile(source, O_RDONLY)
    let size = try input.status().st_size
    do {
        let output = try OpenFile(partial, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: mode)
        let ficlone: UInt = 0x4004_9409  // FICLONE of linux/fs.h: _IOW(0x94, 9, int)
        if ioctl(output.descriptor, ficlone, input.descriptor) != 0 {
            try retryingInterrupts("size \(partial)") { ftruncate(output.descriptor, size) }
            try copyRanges(from: input, to: output, size: size)
        }
        try output.sync()
    } catch {
        unlink(partial)
        throw error
    }
    try renameDurably(partial, to: destination)
}

private func copyRanges(
    from input: borrowing OpenFile, to output: borrowing OpenFile, size: off_t
) throws(FileError) {
    let seekData: Int32 = 3  // SEEK_DATA and SEEK_HOLE of lseek(2)
    let seekHole: Int32 = 4
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    var position: off_t = 0
    while position < size {
        let start = lseek(input.descriptor, position, seekData)
        if start < 0 {
            if errno == ENXIO { return }  // nothing but a hole until the end
            throw FileError("read \(input.path)", errno: errno)
        }
        let end = min(size, try retryingInterrupts("read \(input.path)") { lseek(input.descriptor, start, seekHole) })
        position = start
        while position < end {
            let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(buffer.count, end - position)])
            let count = try input.read(into: piece, at: position)
            if count == 0 { throw FileError("read \(input.path), which became shorter", errno: EIO) }
            try output.write(UnsafeRawBufferPointer(rebasing: piece[..<count]), at: position)
            position += count
        }
    }
}
