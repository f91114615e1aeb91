import Foundation
import Glibc

// What Swift's Glibc module does not show of the C library.
@_silgen_name("unshare") private func systemUnshare(_ flags: Int32) -> Int32
@_silgen_name("mount")
private func systemMount(
    _ source: UnsafePointer<CChar>?, _ target: UnsafePointer<CChar>, _ type: UnsafePointer<CChar>?, _ flags: UInt,
    _ data: UnsafePointer<CChar>?
) -> Int32
@_silgen_name("umount2") private func systemUnmount(_ target: UnsafePointer<CChar>, _ flags: Int32) -> Int32
@_silgen_name("lsetxattr")
private func systemSetAttribute(
    _ path: UnsafePointer<CChar>, _ name: UnsafePointer<CChar>, _ value: UnsafeRawPointer?, _ size: Int, _ flags: Int32
) -> Int32
@_silgen_name("lgetxattr")
private func systemGetAttribute(
    _ path: UnsafePointer<CChar>, _ name: UnsafePointer<CChar>, _ value: UnsafeMutableRawPointer?, _ size: Int
) -> Int
@_silgen_name("llistxattr")
private func systemListAttributes(
    _ path: UnsafePointer<CChar>, _ names: UnsafeMutableRawPointer?, _ size: Int
) -> Int

@_silgen_name("memfd_create") private func systemMemoryFile(_ name: UnsafePointer<CChar>, _ flags: UInt32) -> Int32

/// A file that is nowhere on disk.
func makeMemoryFile() throws -> Int32 {
    // MFD_CLOEXEC | MFD_ALLOW_SEALING
    Int32(try check(systemMemoryFile("rootfs-test", 3), "memfd_create"))
}

/// A path as the kernel sees it: bytes.
typealias Path = [UInt8]

func / (left: Path, right: some Collection<UInt8>) -> Path {
    right.isEmpty ? left : left + [UInt8(ascii: "/")] + right
}

func withPath<Value>(_ path: Path, _ body: (UnsafePointer<CChar>) throws -> Value) rethrows -> Value {
    try (path.map { CChar(bitPattern: $0) } + [0]).withUnsafeBufferPointer {
        try body($0.baseAddress.unsafelyUnwrapped)
    }
}

struct SystemError: Error, CustomStringConvertible {
    var call: String
    var number: Int32
    var description: String { "\(call): \(strerror(number).map { String(cString: $0) } ?? "\(number)")" }
}

@discardableResult
func check(_ result: some FixedWidthInteger, _ call: @autoclosure () -> String) throws -> Int {
    guard result >= 0 else { throw SystemError(call: call(), number: errno) }
    return Int(result)
}

/// Runs a body on a thread of its own with mounts that nobody else sees, and that are gone with it even after a crash.
func inPrivateMounts<Value: Sendable>(_ body: @Sendable @escaping () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        let thread = Thread {
            continuation.resume(
                with: Result {
                    let newMounts: Int32 = 0x0002_0000
                    try check(systemUnshare(newMounts), "unshare (these tests need root)")
                    let recursivelyPrivate: UInt = 1 << 18 | 1 << 14
                    try check(systemMount(nil, "/", nil, recursivelyPrivate, nil), "mount --make-rprivate /")
                    return try body()
                })
        }
        thread.stackSize = 8 << 20
        thread.start()
    }
}

/// Makes a directory for a body and removes it with all that is in it.
func withTemporaryDirectory<Value>(_ body: (Path) throws -> Value) throws -> Value {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("rootfs-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    defer { removeTree(Array(url.path.utf8)) }
    return try body(Array(url.path.utf8))
}

/// Mounts over a directory for a body.
func withMount<Value>(_ type: String, at target: Path, options: String, _ body: () throws -> Value) throws -> Value {
    let readOnly: UInt = 1
    try withPath(target) { _ = try check(systemMount("none", $0, type, readOnly, options), "mount \(type) \(options)") }
    defer { _ = withPath(target) { systemUnmount($0, 2) } }
    return try body()
}

/// Mounts an ext4 image for a body.
func withImage<Value>(_ image: Path, at target: Path, _ body: () throws -> Value) throws -> Value {
    let result = try run([
        "mount", "-t", "ext4", "-o", "ro,loop,noload", String(decoding: image, as: UTF8.self),
        String(decoding: target, as: UTF8.self),
    ])
    guard result.status == 0 else { throw SystemError(call: "mount -o loop: \(result.output)", number: EINVAL) }
    defer { _ = withPath(target) { systemUnmount($0, 2) } }
    return try body()
}

/// Runs a tool of the system; its output and errors together.
@discardableResult
func run(_ arguments: [String], directory: Path? = nil) throws -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = arguments
    if let directory {
        process.currentDirectoryURL = URL(fileURLWithPath: String(decoding: directory, as: UTF8.self))
    }
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: output, as: UTF8.self))
}

func status(_ path: Path) -> stat? {
    var status = stat()
    return withPath(path) { lstat($0, &status) } == 0 ? status : nil
}

func isDirectory(_ path: Path) -> Bool {
    status(path).map { $0.st_mode & S_IFMT == S_IFDIR } ?? false
}

func names(in directory: Path) throws -> [Path] {
    guard let stream = withPath(directory, { opendir($0) }) else {
        throw SystemError(call: "opendir \(String(decoding: directory, as: UTF8.self))", number: errno)
    }
    defer { closedir(stream) }
    var found: [Path] = []
    while let entry = readdir(stream) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
        if name != Array(".".utf8), name != Array("..".utf8) { found.append(name) }
    }
    return found.sorted { $0.lexicographicallyPrecedes($1) }
}

func removeTree(_ path: Path) {
    if isDirectory(path) {
        for name in (try? names(in: path)) ?? [] { removeTree(path / name) }
        _ = withPath(path) { rmdir($0) }
    } else {
        _ = withPath(path) { unlink($0) }
    }
}

func readLink(_ path: Path) throws -> Path {
    var target = [UInt8](repeating: 0, count: 5000)
    let count = withPath(path) { path in
        target.withUnsafeMutableBytes { buffer in
            buffer.withMemoryRebound(to: CChar.self) { readlink(path, $0.baseAddress.unsafelyUnwrapped, $0.count) }
        }
    }
    return Array(target.prefix(try check(count, "readlink")))
}

func setXattr(_ path: Path, _ name: String, _ value: [UInt8]) throws {
    try withPath(path) { path in
        _ = try check(systemSetAttribute(path, name, value, value.count, 0), "setxattr \(name)")
    }
}

func xattrs(of path: Path) throws -> [Path: [UInt8]] {
    var list = [UInt8](repeating: 0, count: 65_536)
    let size = try check(withPath(path) { systemListAttributes($0, &list, list.count) }, "listxattr")
    var found: [Path: [UInt8]] = [:]
    for name in list[..<size].split(separator: 0).map(Array.init) {
        var value = [UInt8](repeating: 0, count: 65_536)
        let count = withPath(path) { path in withPath(name) { systemGetAttribute(path, $0, &value, value.count) } }
        found[name] = Array(value.prefix(try check(count, "getxattr")))
    }
    return found
}

func readFile(_ path: Path) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(fileURLWithPath: String(decoding: path, as: UTF8.self))))
}

func write(_ bytes: [UInt8], to path: Path) throws {
    try write(bytes, in: [0..<bytes.count], to: path)
}

/// Writes the given parts of a file, and nothing where its holes are.
func write(_ bytes: [UInt8], in parts: [Range<Int>], to path: Path) throws {
    let flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC
    let descriptor = Int32(try check(withPath(path) { open($0, flags, 0o600) }, "open"))
    defer { close(descriptor) }
    for part in parts {
        var rest = bytes[part]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, off_t(rest.startIndex)) }
            rest = rest.dropFirst(try check(count, "write"))
        }
    }
    try check(ftruncate(descriptor, off_t(bytes.count)), "ftruncate")
}

/// Where a file has data, in whole blocks of 4 KiB; the rest is holes.
func dataRanges(of descriptor: Int32, size: Int) throws -> [Range<Int>] {
    // SEEK_DATA and SEEK_HOLE, which Swift's Glibc module does not show.
    let (seekData, seekHole): (Int32, Int32) = (3, 4)
    var found: [Range<Int>] = []
    var offset = 0
    while offset < size {
        let start = lseek(descriptor, off_t(offset), seekData)
        if start < 0, errno == ENXIO { break }
        let end = try check(lseek(descriptor, try check(start, "lseek"), seekHole), "lseek")
        appendBlocks(start..<end, to: &found)
        offset = end
    }
    return found
}

/// Adds a part of a file that has data to those before it, as the blocks that it lies in.
func appendBlocks(_ part: Range<Int>, to blocks: inout [Range<Int>]) {
    let rounded = (part.lowerBound / 4096 * 4096)..<((part.upperBound + 4095) / 4096 * 4096)
    guard let last = blocks.last, last.upperBound >= rounded.lowerBound else { return blocks.append(rounded) }
    blocks[blocks.count - 1] = last.lowerBound..<max(last.upperBound, rounded.upperBound)
}
