import Glibc

/// A new qcow2 file that shows a read-only image, takes what is written over it, and may be larger
/// (docs/interop/qcow2.txt of QEMU, version 3).
///
/// Empty: a header, the tables that count its clusters, and a first-level table without entries.
struct OverlayDisk: Sendable {
    private static let clusterBits = 16
    private static let clusterSize: UInt64 = 1 << 16
    /// One cluster of second-level entries maps so many bytes.
    private static let bytesPerTable = clusterSize * (clusterSize / 8)
    /// The first-level table is at most 32 MiB (QCOW_MAX_L1_SIZE), which is far more than any disk here.
    static let largestSize: UInt64 = 1 << 50
    /// What the header can hold of a name.
    private static let longestName = 1023

    /// The raw image below; an absolute path.
    let base: String
    /// In bytes, a multiple of 512.
    let size: UInt64

    /// - Throws: code `invalidArgument` where the format cannot say it.
    init(over base: String, size: UInt64) throws(SandboxError) {
        guard base.hasPrefix("/"), base.utf8.count <= Self.longestName, !base.utf8.contains(0) else {
            throw SandboxError(
                .invalidArgument, "a snapshot's path has to be absolute, of at most \(Self.longestName) bytes: \(base)")
        }
        guard size > 0, size <= Self.largestSize else {
            throw SandboxError(
                .invalidArgument, "a disk of \(size) bytes cannot be made; \(Self.largestSize) is the most")
        }
        self.base = base
        self.size = (size + 511) / 512 * 512
    }

    /// The whole new file.
    var bytes: [UInt8] {
        let entries = (size + Self.bytesPerTable - 1) / Self.bytesPerTable
        let tableClusters = (entries * 8 + Self.clusterSize - 1) / Self.clusterSize
        // The header, the table of refcounts, a block of refcounts, the first-level table.
        let clusters = 3 + tableClusters
        var file = [UInt8](repeating: 0, count: Int(clusters * Self.clusterSize))
        let name = Array(base.utf8)
        let format = Array("raw".utf8)
        var header: [UInt8] = []
        header.append(bigEndian: UInt32(0x5146_49FB))
        header.append(bigEndian: UInt32(3))
        let nameOffset = 104 + 8 + 8 + 8
        header.append(bigEndian: UInt64(nameOffset))
        header.append(bigEndian: UInt32(name.count))
        header.append(bigEndian: UInt32(Self.clusterBits))
        header.append(bigEndian: size)
        header.append(bigEndian: UInt32(0))  // no encryption
        header.append(bigEndian: UInt32(entries))
        header.append(bigEndian: 3 * Self.clusterSize)  // the first-level table
        header.append(bigEndian: Self.clusterSize)  // the table of refcounts
        header.append(bigEndian: UInt32(1))
        header.append(bigEndian: UInt32(0))  // no snapshots
        header.append(bigEndian: UInt64(0))
        for _ in 0..<3 { header.append(bigEndian: UInt64(0)) }  // no features
        header.append(bigEndian: UInt32(4))  // refcounts of 2⁴ bits
        header.append(bigEndian: UInt32(104))
        header.append(bigEndian: UInt32(0xE279_2ACA))  // the format of the image below
        header.append(bigEndian: UInt32(format.count))
        header += format + [UInt8](repeating: 0, count: 8 - format.count)
        header += [UInt8](repeating: 0, count: 8)  // the end of the extensions
        file.replaceSubrange(0..<header.count, with: header)
        file.replaceSubrange(nameOffset..<(nameOffset + name.count), with: name)
        var pointer: [UInt8] = []
        pointer.append(bigEndian: 2 * Self.clusterSize)
        file.replaceSubrange(Int(Self.clusterSize)..<(Int(Self.clusterSize) + 8), with: pointer)
        for cluster in 0..<Int(clusters) { file[2 * Int(Self.clusterSize) + cluster * 2 + 1] = 1 }
        return file
    }

    /// Makes the file; nothing may be there.
    func make(at path: String) throws(SandboxError) {
        let file = try Descriptor.open(path, O_WRONLY | O_CREAT | O_EXCL)
        try SmallFile.write(file, bytes, path: path)
    }
}

extension [UInt8] {
    fileprivate mutating func append<Number: FixedWidthInteger>(bigEndian number: Number) {
        Swift.withUnsafeBytes(of: number.bigEndian) { append(contentsOf: $0) }
    }
}
