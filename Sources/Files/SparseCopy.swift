import Glibc

/// Copies a file with its holes: as a shared clone where the file system can, else range by range.
///
/// The copy is called `<destination>.partial` until it is whole and durable, then renamed; a crash leaves at worst
/// that partial file. Of two copies to one destination at the same time one throws.
package func copySparseFile(_ source: String, to destination: String, mode: UInt32 = 0o644) throws(FileError) {
    let input = try OpenFile(source, O_RDONLY)
    let size = try input.status().st_size
    let partial = try PartialFile(for: destination, mode: mode)
    do {
        let ficlone: UInt = 0x4004_9409  // FICLONE of linux/fs.h: _IOW(0x94, 9, int)
        let descriptor = partial.file.descriptor
        if ioctl(descriptor, ficlone, input.descriptor) != 0 {
            try retryingInterrupts("size \(partial.file.path)") { ftruncate(descriptor, size) }
            try copyRanges(from: input, to: partial.file, size: size)
        }
        try partial.file.sync()
    } catch {
        partial.discard()
        throw error
    }
    try partial.publish()
}

private func copyRanges(
    from input: borrowing OpenFile, to output: borrowing OpenFile, size: off_t
) throws(FileError) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    var ranges = DataRanges(of: input.descriptor, path: input.path, size: size)
    while let range = try ranges.next() {
        var position = range.lowerBound
        while position < range.upperBound {
            let wanted = min(buffer.count, range.upperBound - position)
            let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
            let count = try input.read(into: piece, at: position)
            if count == 0 { throw FileError("read \(input.path), which became shorter", errno: EIO) }
            try output.write(UnsafeRawBufferPointer(rebasing: piece[..<count]), at: position)
            position += count
        }
    }
}
