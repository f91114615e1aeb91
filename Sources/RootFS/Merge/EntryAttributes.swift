import EXT4

private let accessACLName = Array("system.posix_acl_access".utf8)
private let defaultACLName = Array("system.posix_acl_default".utf8)

/// Turns what an archive says of an entry into what its inode will have: drops, with a warning, what no runtime could
/// set on a Linux file system, and refuses what cannot be meant.
struct EntryAttributes {
    let log: WarningLog

    /// Linux: XATTR_NAME_MAX and XATTR_SIZE_MAX.
    private static let maximumName = 255
    private static let maximumValue = 64 << 10

    /// Private to overlayfs: on a layer's files they would be taken for orders, not for content.
    private static let overlay = ["trusted.overlay.", "user.overlay."].map { Array($0.utf8) }
    private static let user = Array("user.".utf8)
    private static let capability = Array("security.capability".utf8)
    private static let known = ["user.", "trusted.", "security."].map { Array($0.utf8) }

    /// - Parameter type: the type bits of `st_mode`; a hard link's are its target's.
    func attributes(of entry: TarEntry, type: UInt16) throws(RootFSError) -> Attributes {
        // Linux shows every symlink with all permissions.
        let mode = type == 0o120000 ? 0o777 : entry.mode
        var attributes = Attributes(
            mode: type | mode, uid: entry.uid, gid: entry.gid, modified: Self.stored(entry.modified))
        for xattr in entry.xattrs {
            if let kept = try self.xattr(xattr, entry, type: type) { attributes.xattrs.append(kept) }
        }
        addACL(text: entry.accessACL, accessACLName, entry, to: &attributes)
        addACL(text: entry.defaultACL, defaultACLName, entry, to: &attributes)
        return attributes
    }

    /// What an inode has when a hard link's header is set through its new name: what the header does not name stays,
    /// but chown(2) takes file capabilities away and chmod(2) adapts the access list (kernel: notify_change,
    /// posix_acl_chmod).
    func attributes(of link: TarEntry, replacing old: Attributes) throws(RootFSError) -> Attributes {
        var new = try attributes(of: link, type: old.mode & 0o170000)
        let setsList = link.accessACL != nil || link.xattrs.contains { $0.name == accessACLName }
        let names = Set(new.xattrs.map(\.name))
        for var xattr in old.xattrs where !names.contains(xattr.name) && xattr.name != Self.capability {
            if xattr.name == accessACLName {
                guard !setsList, var list = AccessControlList(binary: xattr.value) else { continue }
                list.adopt(mode: new.mode)
                xattr.value = list.binary
            }
            new.xattrs.append(xattr)
        }
        return new
    }

    /// The kernel clamps what ext4 cannot hold, and cuts the fraction off at either end of the range (inode.c,
    /// timestamp_truncate), so that is what a runtime shows.
    private static func stored(_ time: Timestamp) -> Timestamp {
        let range: ClosedRange<Int64> = -(1 << 31)...0x3_7FFF_FFFF
        guard time.seconds > range.lowerBound else { return Timestamp(seconds: range.lowerBound) }
        guard time.seconds < range.upperBound else { return Timestamp(seconds: range.upperBound) }
        return time
    }

    private func xattr(
        _ xattr: ExtendedAttribute, _ entry: TarEntry, type: UInt16
    ) throws(RootFSError) -> ExtendedAttribute? {
        let name = xattr.name
        guard (1...Self.maximumName).contains(name.count), !name.contains(0) else {
            throw RootFSError(
                .unsupported,
                "the name of an extended attribute has \(name.count) bytes or a NUL; Linux allows 1 to "
                    + "\(Self.maximumName) others")
        }
        guard xattr.value.count <= Self.maximumValue else {
            throw RootFSError(
                .unsupported,
                "the extended attribute \(printable(name)) has \(xattr.value.count) bytes; Linux allows "
                    + "\(Self.maximumValue)")
        }
        if Self.overlay.contains(where: { name.starts(with: $0) }) { return nil }
        if name == accessACLName || name == defaultACLName {
            guard var list = AccessControlList(binary: xattr.value) else {
                throw RootFSError(.archive, "the extended attribute \(printable(name)) is not a POSIX ACL")
            }
            // A runtime restores attributes and then permissions, so the mode has the last word.
            if name == accessACLName {
                list.adopt(mode: entry.mode)
                // The mode says all of it, so the kernel stores no list.
                if list.isMinimal { return nil }
            }
            return acl(list, name, entry, type: type)
        }
        guard Self.known.contains(where: { name.starts(with: $0) && name.count > $0.count }) else {
            log.warn(entry: entry.path, "the extended attribute \(printable(name)) is unknown to Linux and left out")
            return nil
        }
        if name.starts(with: Self.user), type != 0o100000, type != 0o040000 {
            log.warn(
                entry: entry.path,
                "the extended attribute \(printable(name)) is left out: only files and directories can have it")
            return nil
        }
        return xattr
    }

    /// Adds a list that came as text. Tars set it after the permissions, so it has the last word; libarchive even
    /// leaves the group's bits of the mode without the mask.
    private func addACL(
        text: [UInt8]?, _ name: [UInt8], _ entry: TarEntry, to attributes: inout Attributes
    ) {
        guard let text, !attributes.xattrs.contains(where: { $0.name == name }) else { return }
        guard let list = AccessControlList(text: text) else {
            log.warn(
                entry: entry.path,
                "the ACL \"\(printable(text.prefix(200)))\" is left out: it is malformed, or names users without ids")
            return
        }
        let type = attributes.mode & 0o170000
        guard let xattr = acl(list, name, entry, type: type) else { return }
        if name == accessACLName { attributes.mode = attributes.mode & ~0o777 | list.mode }
        if !list.isMinimal || name == defaultACLName { attributes.xattrs.append(xattr) }
    }

    /// nil, with a warning, where the kernel keeps no list: of a symlink, or a default one of no directory.
    private func acl(
        _ list: AccessControlList, _ name: [UInt8], _ entry: TarEntry, type: UInt16
    ) -> ExtendedAttribute? {
        guard type != 0o120000, name == accessACLName || type == 0o040000 else {
            log.warn(entry: entry.path, "the ACL \(printable(name)) is left out: the entry's type cannot have it")
            return nil
        }
        return ExtendedAttribute(name: name, value: list.binary)
    }
}
