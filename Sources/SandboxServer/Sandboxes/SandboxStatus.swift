package import Sandbox
package import SandboxAPI

extension SandboxStatus {
    /// The state of a provider's sandbox in the API's words.
    package init(_ state: SandboxState) {
        switch state {
        case .starting: self = .starting
        case .running: self = .running
        case .ended: self = .finished
        }
    }
}
