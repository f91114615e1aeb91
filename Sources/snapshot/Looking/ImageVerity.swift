import EXT4
import Files
import Glibc
import HelperInterface

/// The dm-verity hash tree behind a file system.
struct ImageVerity {
    let superblock: VeritySuperblock
    /// Of the block at its top, which nothing in the image vouches for: who knows the right one compares.
    let root: String
    /// In bytes, the superblock's block included.
    let size: UInt64

    /// Nil where there is none.
    init?(of image: borrowing ImageFile) throws(FileError) {
        let size = UInt64(max(try image.file.status().st_size, 0))
        let offset = image.reader.information.size
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 512, alignment: 16)
        defer { buffer.deallocate() }
        guard try image.file.read(into: buffer, at: Int(offset)) == buffer.count,
            let superblock = VeritySuperblock(Array(buffer)), superblock.offset == offset, superblock.end <= size
        else { return nil }
        self.superblock = superblock
        self.size = superblock.end - offset
        root = try VerityTree(superblock).root(of: image.file)
    }

    var result: VerityResult { VerityResult(superblock, rootHash: root) }
}
