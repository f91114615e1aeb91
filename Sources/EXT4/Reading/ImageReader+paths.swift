extension ImageReader {
    /// As many symlinks as Linux follows for one path (path_resolution(7)).
    private static let maxLinks = 40

    /// The inode at a path as the system in the image would see it: from the root on, through symlinks, which never
    /// lead out of the image.
    ///
    /// - Parameters:
    ///   - path: with or without a slash in front.
    ///   - followsLast: whether a symlink at the very end is followed, too; with a slash behind it always is.
    /// - Throws: `.notFound` where there is nothing, `.corrupt`.
    package func inode(atPath path: [UInt8], followsLast: Bool) throws(EXT4Error) -> Inode {
        let slash = UInt8(ascii: "/")
        // What is still to be walked, the next one last.
        var rest = ImageReader.components(path)
        let followsLast = followsLast || path.last == slash
        var directories = [try inode(root)]
        var current = directories[0]
        var links = 0
        while let name = rest.popLast() {
            guard current.isDirectory else {
                throw EXT4Error(.notFound, "\(printableName(path)): what should be a directory is none")
            }
            if name == [0x2E] { continue }
            if name == [0x2E, 0x2E] {
                if directories.count > 1 { directories.removeLast() }
                current = directories[directories.count - 1]
                continue
            }
            guard let entry = try entries(of: current).first(where: { $0.name == name }) else {
                throw EXT4Error(.notFound, "\(printableName(path)): no such file or directory in the image")
            }
            let found = try inode(entry.inode)
            if found.isSymlink, !rest.isEmpty || followsLast {
                links += 1
                guard links <= ImageReader.maxLinks else {
                    throw EXT4Error(.notFound, "\(printableName(path)): too many symbolic links")
                }
                let target = try target(of: found)
                if target.first == slash {
                    directories.removeLast(directories.count - 1)
                    current = directories[0]
                }
                rest += ImageReader.components(target)
                continue
            }
            current = found
            if found.isDirectory { directories.append(found) }
        }
        guard path.last != slash || current.isDirectory else {
            throw EXT4Error(.notFound, "\(printableName(path)): not a directory")
        }
        return current
    }

    /// The parts of a path, the last one first.
    private static func components(_ path: [UInt8]) -> [[UInt8]] {
        path.split(separator: UInt8(ascii: "/")).reversed().map { Array($0) }
    }
}
