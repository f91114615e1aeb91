import EXT4
import Foundation
import Glibc
import Synchronization
import Testing

@testable import RootFS

let testFormat = Format(
    uuid: Array(0..<16), hashSeed: Array(16..<32), label: Array("test".utf8), timestamp: Int64(Oracle.timestamp))

/// Collects what a conversion warns of.
final class WarningList: Sendable {
    private let found = Mutex<[Warning]>([])

    var all: [Warning] { found.withLock { $0 } }
    func append(_ warning: Warning) { found.withLock { $0.append(warning) } }
}

/// Converts layers, the bottom one first, into an image file.
@discardableResult
func convert(
    _ layers: [Layer], to image: Path, limits: Limits = Limits(), warnings: WarningList = WarningList(),
    execution: Execution = Execution()
) throws -> ConversionSummary {
    let descriptor = Int32(
        try check(withPath(image) { open($0, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600) }, "open"))
    defer { close(descriptor) }
    let directory = Array(image[..<(image.lastIndex(of: UInt8(ascii: "/")) ?? 0)])
    var converter = Converter(
        limits: limits, temporaryDirectory: String(decoding: directory, as: UTF8.self),
        warn: { warnings.append($0) })
    converter.execution = execution
    return try converter.convert(layers: layers, into: descriptor, format: testFormat)
}

/// The error of converting layers, nowhere on disk; nil when there is an image.
func refusal(
    _ layers: [Layer], limits: Limits = Limits(), execution: Execution = Execution()
) throws -> RootFSError? {
    let descriptor = try makeMemoryFile()
    defer { close(descriptor) }
    return failure { () throws(RootFSError) in
        var converter = Converter(limits: limits, temporaryDirectory: FileManager.default.temporaryDirectory.path)
        converter.execution = execution
        _ = try converter.convert(layers: layers, into: descriptor, format: testFormat)
    }
}

/// What e2fsck has to say of an image besides its passes and the totals; empty for a sound one.
func complaints(about image: Path) throws -> [String] {
    let fsck = try run(["e2fsck", "-fn", String(decoding: image, as: UTF8.self)])
    let lines = fsck.output.split(separator: "\n").filter {
        !$0.hasPrefix("e2fsck ") && !$0.hasPrefix("Pass ") && !$0.contains(" files (")
    }
    return lines.map { "e2fsck: \(printable($0.utf8))" } + (fsck.status == 0 ? [] : ["e2fsck ends with \(fsck.status)"])
}

/// What the kernel shows of an image; without /lost+found.
func mountedTree(_ image: Path, in workspace: Path) throws -> TreeSnapshot {
    let mountPoint = workspace / "image-mount".utf8
    try withPath(mountPoint) { _ = try check(mkdir($0, 0o755), "mkdir") }
    defer { removeTree(mountPoint) }
    var tree = try withImage(image, at: mountPoint) { try TreeSnapshot(mountPoint) }
    tree.nodes[Array("lost+found".utf8)] = nil
    return tree
}

/// What the kernel shows of an image that e2fsck has nothing to say about; without /lost+found.
func inspect(_ image: Path, in workspace: Path) throws -> TreeSnapshot {
    #expect(try complaints(about: image) == [])
    return try mountedTree(image, in: workspace)
}

/// What our own reader shows of an image, and what it finds wrong with it.
func readTree(_ image: Path) throws -> (tree: TreeSnapshot, problems: [String]) {
    let descriptor = Int32(try check(withPath(image) { open($0, O_RDONLY | O_CLOEXEC) }, "open"))
    defer { close(descriptor) }
    let reader = try ImageReader(fileDescriptor: descriptor)
    return (try TreeSnapshot(reader), try reader.verify().problems)
}

/// Layers given as members, as overlayfs shows them and as a conversion does.
struct Comparison: Sendable {
    var expected: TreeSnapshot
    /// Through the kernel.
    var found: TreeSnapshot
    /// Through our own reader.
    var read: TreeSnapshot
    /// What e2fsck and our own reader find wrong with the image.
    var problems: [String]
    var summary: ConversionSummary
    var warnings: [Warning]
    var accepted: [[Member]]

    var differences: [String] {
        problems + found.differences(from: expected) + read.differences(from: expected).map { "our reader: \($0)" }
    }

    /// Whether the image has a path.
    func has(_ path: String) -> Bool { found.nodes[Array(path.utf8)] != nil }
}

/// Extracts and converts the same layers.
///
/// - Parameter again: How to convert them once more; other bytes are a problem.
func compare(
    _ layers: [[Member]], execution: Execution = Execution(), again: Execution? = nil,
    store: @Sendable @escaping (_ number: Int, _ archive: [UInt8]) -> Layer = { Layer($1, name: "layer-\($0)") }
) async throws -> Comparison {
    try await inPrivateMounts {
        try withTemporaryDirectory { workspace in
            let oracle = try Oracle(in: workspace)
            let accepted = try layers.map { try oracle.add($0) }
            let encoded = accepted.enumerated().map { store($0, TarBuilder.archive($1)) }
            let warnings = WarningList()
            let image = workspace / "image".utf8
            let summary = try convert(encoded, to: image, warnings: warnings, execution: execution)
            var comparison = Comparison(
                expected: try oracle.merged(), found: try mountedTree(image, in: workspace), read: TreeSnapshot(),
                problems: try complaints(about: image), summary: summary, warnings: warnings.all, accepted: accepted)
            do {
                let problems: [String]
                (comparison.read, problems) = try readTree(image)
                comparison.problems += problems
            } catch let error as EXT4Error {
                comparison.problems.append("our reader: \(error)")
            }
            if let again {
                let second = workspace / "second".utf8
                try convert(encoded, to: second, execution: again)
                if try contents(image) != contents(second) {
                    comparison.problems.append("\(again.testDescription) gives other bytes")
                }
            }
            return comparison
        }
    }
}
