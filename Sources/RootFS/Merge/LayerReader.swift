import EXT4

/// What the layers of one conversion share.
struct Conversion {
    let writer: ImageWriter
    let budget: Budget
    let log: WarningLog
    let inodes: InodeTable
    let merged: MergedTree
    let links: PendingLinks
    let temporaryDirectory: String
    let execution: Execution
}

/// Reads one layer from its first to its last byte: visible files go straight into the image, all else into the
/// layer's tree, which is merged under the upper layers' when the layer ends.
final class LayerReader {
    private let layer: Layer
    private let conversion: Conversion
    private let stream: LayerStream
    private let archive: TarReader
    private let tree: LayerTree
    private let hidden: HiddenPayloads
    private let attributes: EntryAttributes
    /// Staged until the layer ends: a directory, and the name that is gone from it, or nil for all of them.
    private var marks: [(directory: [ArraySlice<UInt8>], name: ArraySlice<UInt8>?, path: [UInt8])] = []
    private var entries = 0

    private var inodes: InodeTable { conversion.inodes }
    private var limits: Limits { conversion.budget.limits }

    /// - Parameter number: the layer's place, 0 for the bottom one.
    init(_ layer: Layer, number: Int32, _ conversion: Conversion) throws(RootFSError) {
        self.layer = layer
        self.conversion = conversion
        stream = try LayerStream(layer, budget: conversion.budget, execution: conversion.execution)
        archive = TarReader(stream, limits: conversion.budget.limits)
        tree = LayerTree(
            number: number, merged: conversion.merged, inodes: conversion.inodes, budget: conversion.budget)
        hidden = HiddenPayloads(
            limit: conversion.budget.limits.hiddenBytes, directory: conversion.temporaryDirectory)
        attributes = EntryAttributes(log: conversion.log)
    }

    /// Reads the layer and merges it. After an error the conversion cannot go on.
    func read() throws(RootFSError) -> LayerSummary {
        while let entry = try archive.next() {
            entries += 1
            do {
                try place(entry)
            } catch {
                throw error.located(layer: layer.name, entry: printable(entry.path))
            }
        }
        let isVerified = try stream.finish()
        if !archive.isTerminated {
            // Go's writer leaves the end mark out when it is not closed, and all runtimes take such layers. Without
            // a digest nothing tells one from an archive that was cut between two entries.
            guard isVerified else {
                throw RootFSError(.archive, "the archive is truncated: its end mark of two zero blocks is missing")
            }
            conversion.log.warn("the archive has no end mark")
        }
        for mark in marks {
            do {
                try tree.mark(mark.directory, whiteout: mark.name)
            } catch {
                throw error.located(layer: layer.name, entry: printable(mark.path))
            }
        }
        try conversion.links.settle(with: tree)
        conversion.merged.absorb(tree)
        try tree.release()
        try conversion.links.finishLayer()
        return LayerSummary(
            name: layer.name, entries: entries, decompressedBytes: stream.decompressedBytes,
            isDiffIDVerified: isVerified)
    }

    private func place(_ entry: TarEntry) throws(RootFSError) {
        try charge(entry)
        let path = try EntryPath(entry.path, limits: limits)
        guard let name = path.components.last else {
            guard entry.kind == .directory else {
                throw RootFSError(.name, "the entry would make the root something else than a directory")
            }
            return try tree.setDirectory(
                LayerTree.Paths.root, try attributes.attributes(of: entry, type: entry.kind.typeBits))
        }
        let directory = Array(path.components.dropLast())
        if let whiteout = try Whiteout(name), !isInsideBookkeeping(directory) {
            return try stage(whiteout, path, entry)
        }
        if try isBookkeeping(path) {
            // Only the files in .wh..wh.plnk matter: hard links name them.
            guard directory.count == 1, entry.kind == .file else { return }
        }
        let parent = try tree.directory(directory)
        let node = try tree.node(name, in: parent)
        try place(entry, at: node)
    }

    private func isInsideBookkeeping(_ directory: [ArraySlice<UInt8>]) -> Bool {
        directory.first?.starts(with: Whiteout.metadataPrefix) ?? false
    }

    /// Whether a path lies in aufs's own directories at the root. Other names that begin like a whiteout cannot be
    /// directories (OCI image specification, layer.md: no file name may begin with ".wh.").
    private func isBookkeeping(_ path: EntryPath) throws(RootFSError) -> Bool {
        let directory = path.components.dropLast()
        if isInsideBookkeeping(Array(directory)) { return true }
        if let name = directory.first(where: { $0.starts(with: Whiteout.prefix) }) {
            throw RootFSError(.name, "\"\(printable(name))\" is a whiteout, so there can be nothing in it")
        }
        return false
    }

    private func stage(_ whiteout: Whiteout, _ path: EntryPath, _ entry: TarEntry) throws(RootFSError) {
        guard !(try isBookkeeping(path)) else { return }
        let directory = Array(path.components.dropLast())
        // Kept until the layer ends, whether or not the path is one of the tree's.
        try conversion.budget.spend(metadataBytes: entry.path.count)
        switch whiteout {
        case .opaque: marks.append((directory, nil, entry.path))
        case .name(let name): marks.append((directory, name, entry.path))
        case .aufs: break
        }
    }

    /// What of an entry stays in memory. Counted for whiteouts too, which keep nothing of it: a global header may have
    /// given a megabyte of attributes to each of a million entries, and making those takes time.
    private func charge(_ entry: TarEntry) throws(RootFSError) {
        var bytes = entry.xattrs.reduce(0) {
            $0 + $1.name.count + $1.value.count + MemoryLayout<ExtendedAttribute>.size
        }
        bytes += (entry.accessACL?.count ?? 0) + (entry.defaultACL?.count ?? 0)
        if case .symbolicLink(let target) = entry.kind { bytes += target.count }
        // Holes cost nothing in the archive, but an extent for each segment in memory.
        bytes += entry.payload.segments.count * MemoryLayout<SparseMap.Segment>.size
        try conversion.budget.spend(entries: 0, metadataBytes: bytes)
    }

    private func place(_ entry: TarEntry, at node: LayerTree.Paths.NodeID) throws(RootFSError) {
        if case .hardLink(let target) = entry.kind {
            return try link(entry, at: node, to: target)
        }
        let attributes = try attributes.attributes(of: entry, type: entry.kind.typeBits)
        switch entry.kind {
        case .directory:
            try tree.setDirectory(node, attributes)
        case .hardLink:
            break
        case .file:
            let cleared = try tree.cleared(node)
            set(cleared, inodes.add(attributes, try storePayload(entry, at: cleared)))
        case .symbolicLink(let target):
            guard (1..<EntryPath.maximumLength).contains(target.count), !target.contains(0) else {
                throw RootFSError(
                    .name,
                    "the symlink's target has \(target.count) bytes or a NUL; Linux allows 1 to "
                        + "\(EntryPath.maximumLength - 1) others")
            }
            set(try tree.cleared(node), inodes.add(attributes, .symbolicLink(target: target)))
        case .characterDevice(0, 0):
            conversion.log.warn(
                entry: entry.path, "the character device 0/0 is taken for a whiteout, which it is to overlayfs")
            tree[try tree.cleared(node)].isDevice = true
        case .characterDevice(let major, let minor):
            set(try tree.cleared(node), inodes.add(attributes, .characterDevice(major: major, minor: minor)))
        case .blockDevice(let major, let minor):
            set(try tree.cleared(node), inodes.add(attributes, .blockDevice(major: major, minor: minor)))
        case .fifo:
            set(try tree.cleared(node), inodes.add(attributes, .fifo))
        }
    }

    /// Gives a path an inode whose name was counted already.
    private func set(_ node: LayerTree.Paths.NodeID, _ inode: InodeID) {
        tree[node].state = .inode(inode)
    }

    /// Whether what this path has must be in the image: it shows, or a hard link of an upper layer waits for it.
    private func isNeeded(_ node: LayerTree.Paths.NodeID) -> Bool {
        if tree.isVisible(node) { return true }
        return !conversion.links.isEmpty && conversion.links.waits(for: tree.paths.path(of: node))
    }

    private func storePayload(
        _ entry: TarEntry, at node: LayerTree.Paths.NodeID
    ) throws(RootFSError) -> Inode.Body {
        guard isNeeded(node) else { return .held(try hidden.hold(entry.payload, of: archive)) }
        return .written(
            try writeFile(entry.payload.size) { (body) throws(RootFSError) in try archive.readPayload(body) })
    }

    private func writeFile(
        _ size: UInt64,
        from read: ((TarReader.Piece) throws(RootFSError) -> Void) throws(RootFSError) -> Void
    ) throws(RootFSError) -> FileData {
        let writer = conversion.writer
        writer.beginFile(expectedSize: size)
        try read { (piece) throws(RootFSError) in
            try output { () throws(EXT4Error) in
                switch piece {
                case .data(let bytes): try writer.append(bytes)
                case .hole(let count): try writer.appendHole(count)
                }
            }
        }
        return try output { () throws(EXT4Error) in try writer.endFile() }
    }

    // MARK: Hard links

    private func link(
        _ entry: TarEntry, at node: LayerTree.Paths.NodeID, to rawTarget: [UInt8]
    ) throws(RootFSError) {
        let target = try EntryPath(rawTarget, limits: limits)
        guard let name = target.components.last else {
            throw RootFSError(.link, "it is a hard link to the root directory")
        }
        let missing: [ArraySlice<UInt8>]
        switch try tree.resolve(Array(target.components.dropLast())) {
        case .blocked(let part):
            throw RootFSError(
                .link,
                "it is a hard link to \"\(printable(rawTarget))\", but \"\(printable(tree.paths.path(of: part)))\" is "
                    + "not a directory in this layer")
        case .endless:
            throw RootFSError(
                .link, "it is a hard link to \"\(printable(rawTarget))\", a path with too many symlinks")
        case .missing(let last, let names):
            missing = components(of: last) + names + [name]
        case .node(let directory):
            if let found = tree.paths.child(of: directory, named: name) {
                if tree[found].isDevice {
                    // Overlayfs hard-links its whiteouts to one another.
                    tree[try tree.cleared(node)].isDevice = true
                    return
                }
                if tree[found].state != .nothing {
                    return try link(entry, at: node, toNode: found)
                }
            }
            missing = components(of: directory) + [name]
        }
        try wait(entry, at: node, for: missing)
    }

    private func components(of node: LayerTree.Paths.NodeID) -> [ArraySlice<UInt8>] {
        tree.paths.path(of: node).split(separator: UInt8(ascii: "/"))
    }

    private func link(
        _ entry: TarEntry, at node: LayerTree.Paths.NodeID, toNode target: LayerTree.Paths.NodeID
    ) throws(RootFSError) {
        guard case .inode(let id) = tree[target].state, !inodes[id].isDirectory else {
            throw RootFSError(.link, "it is a hard link to \"\(printable(tree.paths.path(of: target)))\", a directory")
        }
        // Counted before the old name goes, which may be the target's only one.
        inodes.retain(id)
        let cleared = try tree.cleared(node)
        tree[cleared].state = .inode(id)
        if case .held(let payload) = inodes[id].body, isNeeded(cleared) {
            inodes[id].body = .written(
                try writeFile(payload.map.size) { (body) throws(RootFSError) in try hidden.read(payload, body) })
        }
        try updateAttributes(of: id, from: entry)
    }

    /// What the header of a hard link says holds for the inode: containerd, Docker and Podman set owner, mode and time
    /// through the new name.
    private func updateAttributes(of id: InodeID, from entry: TarEntry) throws(RootFSError) {
        if case .pending = inodes[id].body { return }
        let old = inodes[id].attributes
        inodes[id].attributes = try attributes.attributes(of: entry, replacing: old)
    }

    private func wait(
        _ entry: TarEntry, at node: LayerTree.Paths.NodeID, for target: [ArraySlice<UInt8>]
    ) throws(RootFSError) {
        guard !target[0].starts(with: Whiteout.prefix), tree.number > 0 else {
            throw RootFSError(
                .link,
                "it is a hard link to \"\(printable(Array(target.joined(separator: [UInt8(ascii: "/")]))))\", which "
                    + "does not come before it in this layer" + (tree.number > 0 ? "" : ", and there is none below"))
        }
        try conversion.budget.spend(metadataBytes: target.reduce(0) { $0 + $1.count + 24 })
        let placeholder = Attributes(mode: 0o100000, modified: Timestamp(seconds: 0))
        let id = inodes.add(placeholder, .pending)
        tree[try tree.cleared(node)].state = .inode(id)
        conversion.links.add(
            PendingLinks.Link(inode: id, target: target, layer: layer.name, entry: entry.path))
    }
}
