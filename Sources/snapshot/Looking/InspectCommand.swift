import ArgumentParser
import EXT4
import Files
import Glibc
import HelperInterface

struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Shows what an image says of itself.",
        discussion: "With its result document beside it, as snapshot pull leaves it, also where the image is from.")

    @Argument(help: "The ext4 image.")
    var file: String

    @Flag(help: "One JSON document.")
    var json = false

    func run() throws {
        try looking(at: file) {
            let document = try InspectDocument(ImageFile(file))
            let output = StandardOutput()
            if json {
                try output.line(jsonText(document, isPretty: true))
            } else {
                for (name, value) in document.lines {
                    try output.line("\(name):" + String(repeating: " ", count: 15 - name.count) + value)
                }
            }
            try output.flush()
        }
    }
}

/// The facts of an image. Sizes are in bytes.
struct InspectDocument: Encodable {
    struct Source: Encodable {
        let document: String
        let image: String
        let manifestDigest: String
        let platform: String
        let key: String
        let sha256: String
        let size: UInt64
        let entries: Int
        let layerBytes: UInt64
        let warnings: [String]
        let sourceDateEpoch: Int64?
    }

    var schema = 1
    let file: String
    let fileSize: UInt64
    /// What the file takes on disk; the rest is holes.
    let diskUsage: UInt64
    let uuid: String
    let label: String
    let blockSize: UInt64
    let blockCount: UInt64
    let freeBlocks: UInt64
    let inodeCount: UInt32
    let freeInodes: UInt32
    let size: UInt64
    let free: UInt64
    let growableTo: UInt64
    let journalSize: UInt64
    let features: [String]
    /// RFC 3339.
    let made: String
    let mounts: UInt16
    let lastMounted: String?
    let verity: VerityResult?
    let source: Source?

    init(_ image: borrowing ImageFile) throws {
        let status = try image.file.status()
        let reader = image.reader
        let facts = reader.information
        file = image.path
        fileSize = UInt64(max(status.st_size, 0))
        diskUsage = UInt64(max(status.st_blocks, 0)) * 512
        uuid = uuidText(facts.uuid)
        label = printableName(facts.label)
        blockSize = facts.size / facts.blockCount
        blockCount = facts.blockCount
        freeBlocks = facts.freeBlocks
        inodeCount = facts.inodeCount
        freeInodes = facts.freeInodes
        size = facts.size
        free = facts.freeBlocks.multipliedReportingOverflow(by: blockSize).partialValue
        growableTo = facts.growableTo
        journalSize = try reader.journalSize()
        features = facts.features
        func text(_ seconds: Int64) -> String {
            timeText(Timestamp(seconds: seconds), separator: "T", zone: "Z").replacing(".000000000", with: "")
        }
        made = text(facts.made)
        mounts = facts.mountCount
        lastMounted = facts.mounted > 0 ? text(facts.mounted) : nil
        verity = try ImageVerity(of: image)?.result
        source = Sidecar(beside: image.path, uuid: uuid).map { sidecar in
            let result = sidecar.result
            return Source(
                document: sidecar.path, image: result.image, manifestDigest: result.manifestDigest,
                platform: result.platform, key: result.key, sha256: result.sha256, size: result.size,
                entries: result.entries, layerBytes: result.layerBytes, warnings: result.warnings,
                sourceDateEpoch: result.sourceDateEpoch)
        }
    }

    /// For a person.
    var lines: [(String, String)] {
        var lines = [
            ("file", "\(printableName(file.utf8)), \(byteCountText(fileSize)), \(byteCountText(diskUsage)) on disk"),
            ("uuid", uuid),
            ("size", "\(byteCountText(size)), \(blockCount) blocks of \(blockSize) bytes"),
            ("free", "\(byteCountText(free)), \(freeBlocks) blocks"),
            ("inodes", "\(inodeCount), \(freeInodes) free"),
            ("growable to", byteCountText(growableTo)),
            ("journal", byteCountText(journalSize)),
            ("features", features.joined(separator: " ")),
            ("made", made),
            ("mounted", lastMounted.map { "\(mounts) times read-write, last \($0)" } ?? "never read-write"),
        ]
        if !label.isEmpty { lines.insert(("label", label), at: 2) }
        if let verity {
            lines += [
                ("verity root", verity.rootHash), ("verity salt", verity.salt),
                (
                    "verity tree",
                    "at byte \(verity.hashOffset), \(verity.dataBlocks) blocks of data, \(verity.algorithm)"
                ),
            ]
        }
        if let source {
            lines += [
                ("image", printableName(source.image.utf8)), ("manifest", printableName(source.manifestDigest.utf8)),
                ("platform", printableName(source.platform.utf8)), ("key", printableName(source.key.utf8)),
                ("sha256", printableName(source.sha256.utf8) + " (when it was made)"),
                ("entries", "\(source.entries)"),
            ]
            lines += source.warnings.map { ("warning", printableName($0.utf8)) }
        }
        return lines
    }
}
