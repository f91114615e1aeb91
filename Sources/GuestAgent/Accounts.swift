import GuestProtocol

/// As whom a command runs.
struct Identity: Hashable, Sendable {
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    /// Supplementary groups.
    var groups: [UInt32] = []
    var home = "/"
}

/// What an image's `/etc/passwd` and `/etc/group` say (passwd(5), group(5)). Lines that say nothing are skipped.
struct Accounts: Sendable {
    struct User: Hashable, Sendable {
        var name: String
        var uid: UInt32
        var gid: UInt32
        var home: String
    }

    struct Group: Hashable, Sendable {
        var name: String
        var gid: UInt32
        var members: [String]
    }

    var users: [User] = []
    var groups: [Group] = []

    /// Docker gives so many supplementary groups no image; the kernel's own bound is 65536.
    private static let mostGroups = 1024

    init(passwd: [UInt8], group: [UInt8]) {
        for fields in Self.lines(passwd) where fields.count >= 4 {
            guard let uid = UInt32(fields[2]), let gid = UInt32(fields[3]) else { continue }
            let home = fields.count > 5 && !fields[5].isEmpty ? fields[5] : "/"
            users.append(User(name: fields[0], uid: uid, gid: gid, home: home))
        }
        for fields in Self.lines(group) where fields.count >= 3 {
            guard let gid = UInt32(fields[2]) else { continue }
            let members = fields.count > 3 ? fields[3].split(separator: ",").map(String.init) : []
            groups.append(Group(name: fields[0], gid: gid, members: members))
        }
    }

    private static func lines(_ bytes: [UInt8]) -> [[String]] {
        bytes.split(separator: UInt8(ascii: "\n")).map { line in
            line.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false).map {
                String(decoding: $0, as: UTF8.self)
            }
        }
    }

    /// - Parameter text: `user`, `uid`, `user:group`, `uid:gid`; empty for root. A number need not be in the files; its
    ///   group is then 0. With a group of its own a user has no supplementary ones.
    /// - Throws: code `user` for a name that is not there.
    func identity(_ text: String) throws(GuestFailure) -> Identity {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let name = parts.first.flatMap { $0.isEmpty ? nil : $0 } ?? "0"
        let number = UInt32(name)
        let user = users.first { $0.name == name } ?? users.first { $0.uid == number }
        guard let uid = user?.uid ?? number else {
            throw GuestFailure(
                .user, "there is no user \(name) in the image's /etc/passwd: give a number, or another one")
        }
        // (uid_t)-1 means "leave it" to setresuid(2).
        guard uid != .max else { throw GuestFailure(.user, "\(uid) is no user id") }
        var identity = Identity(uid: uid, gid: user?.gid ?? 0, home: user?.home ?? "/")
        if parts.count > 1, !parts[1].isEmpty {
            guard let gid = groups.first(where: { $0.name == parts[1] })?.gid ?? UInt32(parts[1]), gid != .max else {
                throw GuestFailure(
                    .user, "there is no group \(parts[1]) in the image's /etc/group: give a number, or another one")
            }
            identity.gid = gid
        } else if let user {
            identity.groups = Array(groups.filter { $0.members.contains(user.name) }.map(\.gid).prefix(Self.mostGroups))
        }
        return identity
    }
}
