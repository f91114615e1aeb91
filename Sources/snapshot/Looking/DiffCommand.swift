import ArgumentParser
import EXT4
import FoundationEssentials
import HelperInterface

struct DiffCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Tells where the trees of two images differ.",
        discussion: """
            One line a name: - it is gone, + it is new, ~ it changed, and in what. Compared are type, mode, owner, \
            mtime, size, content, link targets, devices, extended attributes and which names are hard links of each \
            other. Ends with 0 when nothing differs, 1 when something does, and else with 2 or more.
            """)

    @Argument(help: "The old image.")
    var old: String

    @Argument(help: "The new image.")
    var new: String

    @Flag(help: "One JSON object a line.")
    var json = false

    func run() throws {
        // 1 is taken: it says that the images differ.
        try looking(at: "\(old), \(new)", trouble: .inDoubt) {
            let images = (try image(old), try image(new))
            let output = StandardOutput()
            var differs = false
            try TreeComparison(old: images.0.reader, new: images.1.reader).run { difference in
                differs = true
                try output.line(json ? document(difference, images) : text(difference, images))
            }
            try output.flush()
            if differs { throw Reported(status: .failed) }
        }
    }

    /// Names the one of the two that cannot be read.
    private func image(_ path: String) throws -> OpenedImage {
        do {
            return OpenedImage(try ImageFile(path))
        } catch {
            throw LookFailure.describing(error, image: path)
        }
    }

    private final class OpenedImage {
        private let file: ImageFile
        var reader: ImageReader { file.reader }

        init(_ file: consuming ImageFile) { self.file = file }
    }

    // MARK: - Telling

    private struct Document: Encodable {
        let path: String
        let pathBase64: String?
        let change: String
        let differs: [String]
        let old: EntryDocument?
        let new: EntryDocument?
    }

    private func document(_ difference: TreeDifference, _ images: (OpenedImage, OpenedImage)) throws -> String {
        func entry(_ inode: Inode?, _ image: OpenedImage) throws -> EntryDocument? {
            guard let inode else { return nil }
            return try EntryDocument(path: difference.path, inode, in: image.reader, withAttributes: true)
        }
        return try jsonText(
            Document(
                path: String(decoding: difference.path, as: UTF8.self),
                pathBase64: base64WhereNeeded(difference.path), change: difference.change,
                differs: difference.aspects.map(\.rawValue), old: entry(difference.old, images.0),
                new: entry(difference.new, images.1)))
    }

    private func text(_ difference: TreeDifference, _ images: (OpenedImage, OpenedImage)) throws -> String {
        let path = printableName(difference.path)
        guard let old = difference.old, let new = difference.new else {
            return "\(difference.old == nil ? "+" : "-") \(path)"
        }
        let details = try difference.aspects.map { aspect in
            let values = try value(aspect, old, images.0.reader).flatMap { one in
                try value(aspect, new, images.1.reader).map { (one, $0) }
            }
            return values.map { "\(aspect.rawValue) \($0.0) → \($0.1)" } ?? aspect.rawValue
        }
        return "~ \(path): \(details.joined(separator: ", "))"
    }

    /// What a person would want to see of an aspect; nil where that it differs is all.
    private func value(_ aspect: TreeDifference.Aspect, _ inode: Inode, _ reader: ImageReader) throws -> String? {
        switch aspect {
        case .type: inode.type?.word ?? "unknown"
        case .mode: String(modeText(inode).dropFirst())
        case .owner: "\(inode.uid):\(inode.gid)"
        case .mtime: timeText(inode.modified, separator: "T", zone: "Z")
        case .size: "\(inode.size)"
        case .target: printableName(try reader.target(of: inode))
        case .device: inode.device.map { "\($0.major),\($0.minor)" }
        case .content, .xattrs, .hardlinks: nil
        }
    }
}

extension TreeDifference {
    fileprivate var change: String {
        old == nil ? "added" : new == nil ? "removed" : "changed"
    }
}
