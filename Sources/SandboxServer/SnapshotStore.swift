package import Sandbox

/// What a ``SnapshotStore`` knows of a snapshot at one moment.
package struct SnapshotRecord: Hashable, Sendable {
    package enum State: Hashable, Sendable {
        case capturing
        case ready
        /// The reason is for people.
        case failed(reason: String)
    }

    package var id: String
    package var source: SandboxID
    package var state: State
    package var name: String?
    /// The reference of the image, by digest, where there is one.
    package var imageReference: String?
    package var sizeBytes: UInt64?
    package var createdAt: UnixTime

    package init(
        id: String, source: SandboxID, state: State, name: String? = nil, imageReference: String? = nil,
        sizeBytes: UInt64? = nil, createdAt: UnixTime
    ) {
        self.id = id
        self.source = source
        self.state = state
        self.name = name
        self.imageReference = imageReference
        self.sizeBytes = sizeBytes
        self.createdAt = createdAt
    }
}

/// Where snapshots of sandboxes are made and kept.
package protocol SnapshotStore: Sendable {
    /// Begins to capture a running sandbox, or captures it.
    ///
    /// - Returns: a record that ``get(_:)`` finds from now on; what becomes of a capture under way is told there.
    func capture(_ sandbox: SandboxInfo, name: String?) async throws -> SnapshotRecord

    func get(_ id: String) async throws -> SnapshotRecord?

    /// All of them, in any order: complete, or it throws.
    func list() async throws -> [SnapshotRecord]

    /// - Returns: whether there was one.
    func delete(_ id: String) async throws -> Bool

    /// A snapshot to boot from, by its id or one of its names; kept from removal until it is let go.
    ///
    /// - Returns: `nil` when there is none.
    func bootable(_ id: String) async throws -> BootableSnapshot?

    /// The snapshot of an image, which is made, or brought here, when it is not there yet: that takes as long as it takes, and
    /// goes on when the caller has left.
    func bootable(image reference: String) async throws -> BootableSnapshot
}

/// A snapshot that nobody removes until ``release`` was called.
package struct BootableSnapshot: Sendable {
    package let root: SnapshotRoot
    package let release: @Sendable () -> Void

    package init(root: SnapshotRoot, release: @escaping @Sendable () -> Void) {
        self.root = root
        self.release = release
    }
}
