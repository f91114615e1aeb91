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
    private static let known = ["user.", "trusted.", "security."].map { Array($0.utf8) }

    /// - Parameter type: the type bits of `st_mode`; a hard link's are its target's.
    func attributes(of entry: TarEntry, type: UInt16) throws(RootFSError) -> Attributes {
        // Linux shows every symlink with all permissions.
        let mode = type == 0o120000 ? 0o777 : entry.mode
        var attributes = Attributes(
            mode: type | mode, uid: entry.uid, gid: entry.gid, modified: entry.modified)
        for xattr in entry.xattrs {
            if let kept = try self.xattr(xattr, entry, type: type) { attributes.xattrs.append(kept) }
        }
        try addACL(text: entry.accessACL, accessACLName, entry, to: &attributes)
        try addACL(text: entry.defaultACL, defaultACLName, entry, to: &attributes)
        return attributes
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
            guard let list = AccessControlList(binary: xattr.value) else {
                throw RootFSError(.archive, "the extended attribute \(printable(name)) is not a POSIX ACL")
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

    private func addACL(
        text: [UInt8]?, _ name: [UInt8], _ entry: TarEntry, to attributes: inout Attributes
    ) throws(RootFSError) {
        guard let text, !attributes.xattrs.contains(where: { $0.name == name }) else { return }
        guard let list = AccessControlList(text: text) else {
            log.warn(
                entry: entry.path,
                "the ACL \"\(printable(text.prefix(200)))\" is left out: it is malformed, or names users without ids")
            return
        }
        if let xattr = acl(list, name, entry, type: attributes.mode & 0o170000) { attributes.xattrs.append(xattr) }
    }

    /// nil where the kernel keeps no list: an access list that the mode says already, one of a symlink, a default list
    /// of something else than a directory.
    private func acl(
        _ list: AccessControlList, _ name: [UInt8], _ entry: TarEntry, type: UInt16
    ) -> ExtendedAttribute? {
        guard type != 0o120000, name == accessACLName || type == 0o040000 else {
            log.warn(entry: entry.path, "the ACL \(printable(name)) is left out: the entry's type cannot have it")
            return nil
        }
        guard name == accessACLName else { return ExtendedAttribute(name: name, value: list.binary) }
        if list.isMinimal { return nil }
        var list = list
        list.adopt(mode: entry.mode)
        return ExtendedAttribute(name: name, value: list.binary)
    }
}
