import ArgumentParser
import EXT4
import HelperInterface

struct LsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls",
        abstract: "Lists what is in an image, as ls -l does.",
        discussion: """
            Owners are numbers, times are UTC. Bytes of a name that a terminal should not see are written as \\ooo. \
            With --json: one object a line, with the whole path.
            """)

    @Argument(help: "The ext4 image.")
    var file: String

    @Argument(help: "A directory or file in it.")
    var path = "/"

    @Flag(name: [.customShort("R"), .long], help: "Also list what is below, directory by directory.")
    var recursive = false

    @Flag(name: .shortAndLong, help: "List a directory itself, not what is in it.")
    var directory = false

    @Flag(help: "Also show extended attributes.")
    var xattrs = false

    @Flag(help: "One JSON object a line.")
    var json = false

    func run() throws {
        try looking(at: file) {
            let image = try ImageFile(file)
            let path = rawBytes(of: path)
            let inode = try image.reader.inode(atPath: path, followsLast: false)
            let listing = Listing(reader: image.reader, withAttributes: xattrs, json: json)
            if inode.isDirectory, !directory {
                try listing.list(inode, path: path, recursive: recursive)
            } else {
                try listing.show([(path, path, inode)])
            }
            try listing.output.flush()
        }
    }
}

/// Writes entries to standard output.
private struct Listing {
    typealias Entry = (path: [UInt8], name: [UInt8], inode: Inode)

    let reader: ImageReader
    let withAttributes: Bool
    let json: Bool
    let output = StandardOutput()

    init(reader: ImageReader, withAttributes: Bool, json: Bool) {
        self.reader = reader
        self.withAttributes = withAttributes
        self.json = json
    }

    /// Lines are set in columns among as many entries: more are not held in memory.
    private static let together = 4096

    func list(_ top: Inode, path: [UInt8], recursive: Bool) throws {
        let walk = TreeWalk(reader)
        var work = [(inode: top, path: path, depth: 0)]
        var isFirst = true
        while let (inode, path, depth) = work.popLast() {
            if recursive, !json {
                try output.line((isFirst ? "" : "\n") + printableName(path) + ":")
            }
            isFirst = false
            var directories: [(inode: Inode, path: [UInt8], depth: Int)] = []
            var entries: [Entry] = []
            for entry in try walk.entries(of: inode, depth: depth) {
                let child = try walk.inode(of: entry)
                let childPath = path + (path.last == UInt8(ascii: "/") ? [] : [UInt8(ascii: "/")]) + entry.name
                entries.append((childPath, entry.name, child))
                if recursive, child.isDirectory { directories.append((child, childPath, depth + 1)) }
                if entries.count == Listing.together {
                    try show(entries)
                    entries.removeAll(keepingCapacity: true)
                }
            }
            try show(entries)
            work += directories.reversed()
        }
    }

    func show(_ entries: [Entry]) throws {
        if json {
            for entry in entries {
                try output.line(
                    jsonText(
                        try EntryDocument(path: entry.path, entry.inode, in: reader, withAttributes: withAttributes)))
            }
            return
        }
        let columns = entries.map { EntryColumns($0.inode) }
        let widths = [\EntryColumns.links, \.uid, \.gid, \.size].map { EntryColumns.width($0, of: columns) }
        for (entry, column) in zip(entries, columns) {
            let parts = [
                column.mode, column.links.right(widths[0]), column.uid.right(widths[1]), column.gid.right(widths[2]),
                column.size.right(widths[3]), column.time, try nameText(entry.name, entry.inode, in: reader),
            ]
            try output.line(parts.joined(separator: " "))
            guard withAttributes else { continue }
            for attribute in try reader.extendedAttributes(of: entry.inode).sorted(by: {
                $0.name.lexicographicallyPrecedes($1.name)
            }) {
                try output.line("    " + attributeText(attribute))
            }
        }
    }
}
