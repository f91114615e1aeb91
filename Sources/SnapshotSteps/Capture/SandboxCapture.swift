package import Sandbox

/// A sandbox's work directory on its way into the catalog, or there.
package struct SandboxCapture: Hashable, Sendable {
    package enum State: Hashable, Sendable {
        case capturing
        case ready(size: UInt64)
        case failed(reason: String)
    }

    package let id: String
    package let source: SandboxID
    package let name: String?
    package let createdAt: UnixTime
    package var state: State
    /// Of its snapshot, once it is ready.
    package var key: String?
}
