import Foundation
import Glibc
import TestSupport
import Testing

@testable import EXT4

/// What a command said and how it ended.
struct CommandResult {
    let status: Int32
    let output: String
    let errors: String
}

/// Runs a tool of the system to its end.
@discardableResult
func run(_ arguments: [String], input: String? = nil) throws -> CommandResult {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = arguments
    let directory = FileManager.default.temporaryDirectory
    let outputs = try (0..<2).map { _ in
        let url = directory.appendingPathComponent("ext4test-out-\(UUID().uuidString)")
        guard FileManager.default.createFile(atPath: url.path, contents: nil) else {
            throw CocoaError(.fileWriteUnknown)
        }
        return (url, try FileHandle(forUpdating: url))
    }
    defer { for (url, _) in outputs { unlink(url.path) } }
    process.standardOutput = outputs[0].1
    process.standardError = outputs[1].1
    if let input {
        let pipe = Pipe()
        process.standardInput = pipe
        try process.run()
        pipe.fileHandleForWriting.write(Data(input.utf8))
        try pipe.fileHandleForWriting.close()
    } else {
        process.standardInput = FileHandle.nullDevice
        try process.run()
    }
    process.waitUntilExit()
    let texts = try outputs.map { url, _ in String(decoding: try Data(contentsOf: url), as: UTF8.self) }
    return CommandResult(status: process.terminationStatus, output: texts[0], errors: texts[1])
}

/// Bytes as a C string for the calls that take a path.
func withPath<R>(_ path: [UInt8], _ body: (UnsafePointer<CChar>) throws -> R) rethrows -> R {
    try (path.map { CChar(bitPattern: $0) } + [0]).withUnsafeBufferPointer { characters in
        try body(characters.baseAddress.unsafelyUnwrapped)
    }
}

/// What a symlink points to; nil where there is none.
func readLink(_ path: [UInt8]) -> [UInt8]? {
    var target = [CChar](repeating: 0, count: 5000)
    let count = withPath(path) { readlink($0, &target, 5000) }
    return count < 0 ? nil : target.prefix(count).map { UInt8(bitPattern: $0) }
}

// What Swift's Glibc module does not show of the C library.
@_silgen_name("lgetxattr")
private func systemGetAttribute(
    _ path: UnsafePointer<CChar>, _ name: UnsafePointer<CChar>, _ value: UnsafeMutableRawPointer?, _ size: Int
) -> Int

@_silgen_name("llistxattr")
private func systemListAttributes(
    _ path: UnsafePointer<CChar>, _ names: UnsafeMutableRawPointer?, _ size: Int
) -> Int

/// lseek's "next byte that is no hole".
let seekData: Int32 = 3

func readAttribute(_ path: [UInt8], _ name: [UInt8]) -> [UInt8]? {
    var value = [UInt8](repeating: 0, count: 65536)
    let count = withPath(path) { path in
        withPath(name) { name in systemGetAttribute(path, name, &value, 65536) }
    }
    return count < 0 ? nil : Array(value.prefix(count))
}

func listAttributes(_ path: [UInt8]) -> Set<[UInt8]> {
    var names = [UInt8](repeating: 0, count: 65536)
    let count = withPath(path) { systemListAttributes($0, &names, 65536) }
    return Set(names.prefix(max(count, 0)).split(separator: 0).map { Array($0) })
}

func deviceMajor(_ device: UInt) -> UInt32 {
    UInt32(truncatingIfNeeded: device >> 8 & 0xFFF | device >> 32 & ~0xFFF)
}

func deviceMinor(_ device: UInt) -> UInt32 {
    UInt32(truncatingIfNeeded: device & 0xFF | device >> 12 & ~0xFF)
}

/// A directory of one test, gone when the test is.
final class TemporaryDirectory {
    let path: String

    init() throws {
        var template = Array((FileManager.default.temporaryDirectory.path + "/ext4test-XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else { throw POSIXError(.EIO) }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        _ = try? run(["rm", "-rf", "--one-file-system", path])
    }
}

extension SeededGenerator {
    mutating func bytes(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: (count + 7) & ~7) { buffer, initialized in
            let words = UnsafeMutableRawBufferPointer(buffer)
            for offset in stride(from: 0, to: count, by: 8) {
                words.storeBytes(of: next(), toByteOffset: offset, as: UInt64.self)
            }
            initialized = count
        }
    }
}
