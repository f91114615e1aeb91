package import EXT4

/// What a conversion did.
package struct ConversionSummary: Sendable {
    /// In the order in which they were given.
    package var layers: [LayerSummary]
    package var directories: Int
    package var files: Int
    /// Symlinks, devices and fifos.
    package var otherInodes: Int
    /// Names beyond the first one of their inode.
    package var hardLinks: Int
    /// All warnings, delivered or not.
    package var warnings: Int
    package var image: Summary
}

/// What was read of one layer.
package struct LayerSummary: Sendable, Equatable {
    package var name: String
    /// Members of the archive, whiteouts included.
    package var entries: Int
    package var decompressedBytes: UInt64
    /// Whether there was a diffID; when there was, it matched.
    package var isDiffIDVerified: Bool
}

/// Turns the layers of an image into one ext4 file system.
///
/// The layers are merged from the topmost down, each read once, and the bytes of a file that survives are written once,
/// from the decompressor's buffer to their place. Memory grows with the number of paths, never with the size of files.
///
/// All of it is synchronous and blocks: call it on a thread of your own. Threads that it starts (see ``Execution``) end
/// before it returns or throws. To stop it, let a ``LayerSource`` throw.
package struct Converter: Sendable {
    package var limits: Limits
    /// Where hidden payloads are spilled to, in an unlinked file.
    package var temporaryDirectory: String
    package var execution = Execution()
    private let warn: @Sendable (Warning) -> Void

    /// - Parameter warn: Called on the converting thread for the first 1,000 warnings.
    package init(
        limits: Limits = Limits(), temporaryDirectory: String,
        warn: @escaping @Sendable (Warning) -> Void = { _ in }
    ) {
        self.limits = limits
        self.temporaryDirectory = temporaryDirectory
        self.warn = warn
    }

    /// Converts layers into an image in an empty file.
    ///
    /// The same layers and the same format give the same bytes. After an error, or a crash, the file is no image: give
    /// it its final name only after this returned. Nothing else is left behind. The file is not synced to disk.
    ///
    /// - Parameters:
    ///   - layers: The bottom one first.
    ///   - fileDescriptor: An empty file, open for reading and writing.
    package func convert(
        layers: [Layer], into fileDescriptor: Int32, format: Format
    ) throws(RootFSError) -> ConversionSummary {
        guard layers.count <= limits.layers else {
            throw RootFSError(
                exceeding: .layers, "the image has \(layers.count) layers; the limit is \(limits.layers)")
        }
        let writer = try output { () throws(EXT4Error) in
            try ImageWriter(fileDescriptor: fileDescriptor, format: format)
        }
        let inodes = InodeTable(writer: writer)
        let conversion = Conversion(
            writer: writer, budget: Budget(limits), log: WarningLog(warn), inodes: inodes,
            merged: MergedTree(inodes: inodes), links: PendingLinks(inodes: inodes),
            temporaryDirectory: temporaryDirectory)
        let queue = LayerQueue(layers, budget: conversion.budget, execution: execution)
        defer { queue.cancel() }
        var read: [LayerSummary] = []
        for (number, layer) in layers.enumerated().reversed() {
            conversion.log.layer = layer.name
            do {
                let stream = try queue.stream(of: number)
                read.append(try LayerReader(layer, stream, number: Int32(number), conversion).read())
            } catch {
                throw error.located(layer: layer.name)
            }
        }
        try conversion.links.finish()

        addMountPoints(to: conversion.merged, timestamp: format.timestamp)
        var tree = TreeWriter(
            inodes: inodes, writer: writer,
            impliedDirectory: directory(0o755, timestamp: format.timestamp))
        try tree.write(conversion.merged)
        let image = try output { () throws(EXT4Error) in try writer.finish() }
        return ConversionSummary(
            layers: read.reversed(), directories: tree.summary.directories, files: tree.summary.files,
            otherInodes: tree.summary.otherInodes, hardLinks: tree.summary.hardLinks,
            warnings: conversion.log.count, image: image)
    }

    private func directory(_ permissions: UInt16, timestamp: Int64) -> Attributes {
        Attributes(mode: 0o040000 | permissions, modified: Timestamp(seconds: timestamp))
    }

    /// What a machine mounts at boot, or expects to write to, needs a place even in an image without a shell.
    private func addMountPoints(to tree: MergedTree, timestamp: Int64) {
        for name in ["proc", "sys", "dev", "run"] {
            tree.addDirectory(named: name, directory(0o755, timestamp: timestamp))
        }
        tree.addDirectory(named: "tmp", directory(0o1777, timestamp: timestamp))
    }
}
