/// Writes one ext4 image into an empty file: first the bytes of all files, one after the other, then inodes and names,
/// then everything that makes it a file system.
///
/// Not for use by more than one thread at a time, and it blocks: call it from a thread of your own. After an error is
/// thrown the image is lost; delete the file. The primary superblock is written last, so that a file whose writer was
/// killed is no file system; nothing is fsynced here.
///
/// Content that does not fit the size asked for is counted and not written, and ``finish()`` names the size it needs.
package final class ImageWriter {
    let format: Format
    let output: BlockOutput
    /// The seed of all checksums.
    let seed: UInt32
    var space = Space()
    let inodes = InodeStore()
    let entries = EntryList()
    /// For each inode from 1 on the directory that names it, if it is a directory itself; 0 as long as none does.
    var parents: [UInt32]
    var hasRoot = false
    var isFinished = false
    /// Some values of extended attributes have inodes of their own, which is a feature.
    var hasValueInodes = false
    /// Blocks of extended attributes by their bytes, so that inodes with the same ones share a block.
    var attributeBlocks: [[UInt8]: AttributeBlock] = [:]
    /// One block's memory for what is made before it is written.
    let block = Scratch(count: Int(Geometry.blockSize))

    // The file that is being written.
    var file = OpenFile()
    var isFileOpen = false
    var begunTwice = false

    struct AttributeBlock {
        let number: UInt64
        var references: UInt32
    }

    /// - Parameters:
    ///   - fileDescriptor: an empty regular file, open for reading and writing; it stays the caller's.
    ///   - format: what decides the bytes besides the content.
    /// - Throws: `.misuse` for a format that cannot be or a file that is not empty, `.sizeTooSmall` and `.tooLarge`
    ///   for a size that no image can have.
    package init(fileDescriptor: Int32, format: Format) throws(EXT4Error) {
        try ImageWriter.check(format)
        try BlockOutput.checkEmpty(fileDescriptor)
        self.format = format
        let limit = format.size.map { $0 - $0 % Geometry.blockSize } ?? UInt64.max
        output = BlockOutput(descriptor: fileDescriptor, limit: limit)
        seed = Checksum.seed(uuid: format.uuid)
        parents = Array(repeating: 0, count: Int(InodeNumber.lostAndFound.rawValue))
    }

    private static func check(_ format: Format) throws(EXT4Error) {
        guard format.uuid.count == 16, format.hashSeed.count == 16 else {
            throw EXT4Error(.misuse, "UUID and hash seed of an image must have 16 bytes each")
        }
        guard format.label.count <= 16, !format.label.contains(0) else {
            throw EXT4Error(.misuse, "The label of an image has at most 16 bytes, none of them zero")
        }
        guard let size = format.size else { return }
        let largest = Geometry.maxBlockCount * Geometry.blockSize
        guard size <= largest else {
            throw EXT4Error(.tooLarge, "An image of \(size) bytes was asked for; the largest has \(largest)")
        }
    }

    func requireUnfinished() throws(EXT4Error) {
        guard !isFinished else {
            throw EXT4Error(.misuse, "The image is finished, nothing can be added to it")
        }
    }
}
