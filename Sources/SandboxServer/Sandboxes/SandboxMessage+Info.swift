import Sandbox
import SandboxAPI
import SwiftProtobuf

extension SandboxMessage {
    init(_ info: SandboxInfo, organization: String) {
        self.init()
        sandboxID = info.id.rawValue
        organizationID = organization
        status = SandboxStatus(info.state)
        createdAt = Google_Protobuf_Timestamp(info.createdAt)
        if let expiry = info.expiresAt { expiresAt = Google_Protobuf_Timestamp(expiry) }
        if case .ended(let reason) = info.state { errorMessage = reason }
        env = info.labels
        if !info.name.isEmpty { name = info.name }
    }

    /// The same sandbox, ended just now by a call.
    func ended(_ status: SandboxStatus) -> SandboxMessage {
        var message = self
        message.status = status
        message.stoppedAt = Google_Protobuf_Timestamp(.now())
        return message
    }
}
