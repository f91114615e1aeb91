import Glibc

/// A directory with one directory a sandbox, and the rules by which any number of processes make, see and end them.
///
/// What a sandbox is made of is its provider's affair; here it has a shim, a process that outlives its maker, holds the
/// lock, keeps the time to live and ends everything, and an init, the process with which everything ends.
struct HostSandboxes: Sendable {
    /// The provider's name, for messages.
    let kind: String
    let root: String
    /// The program's absolute path and its first arguments; the sandbox's directory is added.
    let shimCommand: [String]
    /// How long a shim may take to end after its init was killed, before it is killed itself.
    var shimPatience = Duration.seconds(10)
    let onPoint: (@Sendable (String) -> Void)?

    func probe(_ point: String) {
        onPoint?("\(kind):" + point)
    }

    func directory(of id: SandboxID) throws(SandboxError) -> SandboxDirectory {
        guard SandboxDirectory.isValid(id) else { throw unknown(id) }
        return SandboxDirectory(path: root + "/" + id.rawValue)
    }

    func unknown(_ id: SandboxID) -> SandboxError {
        SandboxError(.notFound, "there is no \(kind) sandbox \(id)")
    }

    // MARK: Looking

    func list() throws(SandboxError) -> [SandboxInfo] {
        var infos: [SandboxInfo] = []
        for name in try directoryEntries(root) ?? [] where SandboxDirectory.isValid(SandboxID(name)) {
            if let sight = try look(SandboxDirectory(path: root + "/" + name)) { infos.append(sight.info) }
        }
        return infos
    }

    /// What is known of a sandbox, and the shim's own record.
    struct Sight: Sendable {
        var info: SandboxInfo
        var record: StateRecord?
        var spec: SpecRecord
    }

    /// - Returns: `nil` when the sandbox is gone.
    func look(_ directory: SandboxDirectory) throws(SandboxError) -> Sight? {
        // The lock before the state: a shim writes its last word before it lets go of the lock.
        guard let held = try directory.isHeld() else { return nil }
        let record = try directory.readState()
        guard let spec = try directory.readSpec() else { return nil }
        let info = SandboxInfo(
            id: spec.id,
            name: spec.name,
            labels: spec.labels,
            state: try Self.state(held: held, record: record),
            createdAt: spec.createdAt,
            expiresAt: try directory.readExpiry()?.at,
            notes: spec.notes
        )
        return Sight(info: info, record: record, spec: spec)
    }

    private static func state(held: Bool, record: StateRecord?) throws(SandboxError) -> SandboxState {
        if let record, case .ended = record.state { return record.state }
        if held { return record?.state ?? .starting }
        guard let record else { return .ended(reason: "its maker died before it was started") }
        if try record.shim.bootID != ProcessIdentity.currentBootID() {
            return .ended(reason: "the machine was restarted")
        }
        return .ended(reason: "its shim died")
    }

    @discardableResult
    func requireAlive(_ id: SandboxID, _ directory: SandboxDirectory) throws(SandboxError) -> Sight {
        guard let sight = try look(directory) else { throw unknown(id) }
        if case .ended(let reason) = sight.info.state {
            throw SandboxError(.ended, "sandbox \(id) is over: \(reason); create another")
        }
        return sight
    }

    // MARK: Time to live

    func setTimeToLive(_ timeToLive: Duration, of id: SandboxID) throws(SandboxError) {
        let directory = try directory(of: id)
        guard timeToLive > .zero else {
            throw SandboxError(.invalidArgument, "a time to live of \(timeToLive) is not positive; kill the sandbox")
        }
        try requireAlive(id, directory)
        try SmallFile.replace(directory.expiresPath, Expiry(after: timeToLive).record.bytes, durable: false)
        // The shim may have decided before the record was there.
        try requireAlive(id, directory)
    }
}
