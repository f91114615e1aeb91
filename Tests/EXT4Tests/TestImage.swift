import Foundation
import Glibc
import Testing

@testable import EXT4

/// An image in a directory of its own, and the writer that fills it.
final class TestImage {
    static let time = Timestamp(seconds: 1_700_000_000, nanoseconds: 123_456_789)
    static let uuid: [UInt8] = Array(0x10..<0x20)
    static let seed: [UInt8] = Array(0x30..<0x40)

    let directory: TemporaryDirectory
    let path: String
    let writer: ImageWriter
    private let descriptor: Int32

    init(size: UInt64? = nil, label: String = "", timestamp: Int64 = 1_700_000_000) throws {
        directory = try TemporaryDirectory()
        path = directory.path + "/image.ext4"
        descriptor = open(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
        try #require(descriptor >= 0)
        let format = Format(
            uuid: TestImage.uuid, hashSeed: TestImage.seed, label: Array(label.utf8), timestamp: timestamp,
            size: size)
        writer = try ImageWriter(fileDescriptor: descriptor, format: format)
    }

    deinit {
        close(descriptor)
    }

    // MARK: - Filling

    func store(_ bytes: [UInt8], piece: Int = 1 << 20) throws -> FileData {
        writer.beginFile(expectedSize: UInt64(bytes.count))
        try append(bytes, piece: piece)
        return try writer.endFile()
    }

    func append(_ bytes: [UInt8], piece: Int = 1 << 20) throws {
        for start in stride(from: 0, to: bytes.count, by: piece) {
            try bytes[start..<min(start + piece, bytes.count)].withUnsafeBytes { try writer.append($0) }
        }
    }

    func root(mode: UInt16 = 0o755) throws -> InodeNumber {
        try writer.addInode(Attributes(mode: 0o040000 | mode, modified: TestImage.time), .directory)
    }

    @discardableResult
    func directory(_ name: String, in parent: InodeNumber, mode: UInt16 = 0o755) throws -> InodeNumber {
        let number = try writer.addInode(Attributes(mode: 0o040000 | mode, modified: TestImage.time), .directory)
        try writer.addEntry(parent: parent, name: Array(name.utf8), child: number)
        return number
    }

    @discardableResult
    func file(
        _ name: String, _ data: FileData = FileData(), in parent: InodeNumber, mode: UInt16 = 0o644,
        xattrs: [ExtendedAttribute] = []
    ) throws -> InodeNumber {
        try add(name, .file(data), mode: 0o100000 | mode, in: parent, xattrs: xattrs)
    }

    @discardableResult
    func add(
        _ name: String, _ content: Content, mode: UInt16, in parent: InodeNumber, xattrs: [ExtendedAttribute] = []
    ) throws -> InodeNumber {
        let number = try writer.addInode(
            Attributes(mode: mode, modified: TestImage.time, xattrs: xattrs), content)
        try writer.addEntry(parent: parent, name: Array(name.utf8), child: number)
        return number
    }

    // MARK: - Judging

    /// e2fsck must say nothing besides its passes and its summary, and our own reader must find it sound.
    @discardableResult
    func finishAndCheck(sourceLocation: SourceLocation = #_sourceLocation) throws -> Summary {
        let summary = try writer.finish()
        try TestImage.check(path, sourceLocation: sourceLocation)
        let report = try TestImage.reading(path) { try $0.verify() }
        #expect(report.isSound, "our reader says \(report.problems)", sourceLocation: sourceLocation)
        #expect(report.inodes == Int(summary.usedInodes), sourceLocation: sourceLocation)
        let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? UInt64
        #expect(size == summary.imageSize, sourceLocation: sourceLocation)
        return summary
    }

    static func check(_ path: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let result = try run(["e2fsck", "-fn", path])
        let unusual = result.output.split(separator: "\n").filter { line in
            !line.starts(with: "Pass ") && !line.contains(" files (")
        }
        #expect(result.status == 0, "\(result.output)\(result.errors)", sourceLocation: sourceLocation)
        #expect(unusual.isEmpty, "e2fsck said \(unusual)", sourceLocation: sourceLocation)
        #expect(
            result.errors.split(separator: "\n").count == 1, "e2fsck said \(result.errors)",
            sourceLocation: sourceLocation)
    }

    func debugfs(_ command: String) throws -> String {
        try run(["debugfs", "-R", command, path]).output
    }

    func header() throws -> String {
        try run(["dumpe2fs", "-h", path]).output
    }

    /// Mounts the image, or a copy of it where it is to be written to, and checks that the kernel has no complaint.
    func mounted<R>(
        readOnly: Bool = true, sourceLocation: SourceLocation = #_sourceLocation, _ body: (String) throws -> R
    ) throws -> R {
        try TestImage.mounted(path, readOnly: readOnly, sourceLocation: sourceLocation) { point, _ in try body(point) }
    }

    static func mounted<R>(
        _ path: String, readOnly: Bool, sourceLocation: SourceLocation = #_sourceLocation,
        _ body: (_ point: String, _ device: String) throws -> R
    ) throws -> R {
        let point = try TemporaryDirectory()
        let before = try lastKernelTime()
        let mount = try run(["mount", "-o", readOnly ? "loop,ro" : "loop", "-t", "ext4", path, point.path])
        try #require(mount.status == 0, "mount: \(mount.errors)", sourceLocation: sourceLocation)
        let device = try run(["findmnt", "-n", "-o", "SOURCE", point.path]).output
            .trimmingCharacters(in: .whitespacesAndNewlines)
        let result: Result<R, any Error>
        do {
            result = .success(try body(point.path, device))
        } catch {
            result = .failure(error)
        }
        let complaints = try kernelComplaints(after: before, device: device)
        #expect(complaints.isEmpty, "the kernel says \(complaints)", sourceLocation: sourceLocation)
        let unmount = try run(["umount", point.path])
        #expect(unmount.status == 0, "umount: \(unmount.errors)", sourceLocation: sourceLocation)
        return try result.get()
    }

    private static func lastKernelTime() throws -> Double {
        kernelTime(try run(["dmesg"]).output.split(separator: "\n").last ?? "") ?? 0
    }

    private static func kernelTime(_ line: Substring) -> Double? {
        guard let end = line.firstIndex(of: "]") else { return nil }
        return Double(line[..<end].dropFirst().trimmingCharacters(in: .whitespaces))
    }

    private static func kernelComplaints(after time: Double, device: String) throws -> [Substring] {
        let name = device.split(separator: "/").last ?? ""
        return try run(["dmesg"]).output.split(separator: "\n").filter { line in
            (kernelTime(line) ?? 0) > time && line.contains(name)
                && (line.contains("warning") || line.contains("error") || line.contains("rror:"))
        }
    }
}

extension TestImage {
    /// Every block that dumpe2fs calls free must read as zeros. Returns how many there are.
    static func checkFreeBlocks(_ path: String, sourceLocation: SourceLocation = #_sourceLocation) throws -> Int {
        let descriptor = open(path, O_RDONLY)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        var count = 0
        var block = [UInt8](repeating: 0, count: 4096)
        let zeros = block
        for line in try run(["dumpe2fs", path]).output.split(separator: "\n") {
            guard line.starts(with: "  Free blocks: ") else { continue }
            for range in line.dropFirst("  Free blocks: ".count).split(separator: ",") {
                let ends = range.trimmingCharacters(in: .whitespaces).split(separator: "-").compactMap { Int($0) }
                guard let first = ends.first, let last = ends.last else { continue }
                count += last - first + 1
                // Holes of the file need no look.
                var offset = off_t(first) * 4096
                let end = off_t(last + 1) * 4096
                while offset < end {
                    let data = lseek(descriptor, offset, seekData)
                    guard data >= 0, data < end else { break }
                    offset = max(offset, data / 4096 * 4096)
                    try #require(pread(descriptor, &block, 4096, offset) == 4096)
                    guard block == zeros else {
                        Issue.record("free block \(offset / 4096) is not zero", sourceLocation: sourceLocation)
                        return count
                    }
                    offset += 4096
                }
            }
        }
        return count
    }

    /// A sparse copy, to be changed.
    func copy() throws -> String {
        let copy = directory.path + "/copy-\(UUID().uuidString).ext4"
        try #require(run(["cp", "--sparse=always", path, copy]).status == 0)
        return copy
    }

    /// What the file takes on disk, in bytes.
    static func allocated(_ path: String) throws -> Int {
        var status = stat()
        try #require(stat(path, &status) == 0)
        return Int(status.st_blocks) * 512
    }
}
