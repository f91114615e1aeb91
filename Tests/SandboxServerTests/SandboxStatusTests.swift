import Sandbox
import SandboxAPI
import SandboxServer
import Testing

@Suite("States in the API's words")
struct SandboxStatusTests {
    @Test("a sandbox that is over has a terminal status, and no other has")
    func terminal() {
        #expect(SandboxStatus(SandboxState.starting) == .starting)
        #expect(SandboxStatus(SandboxState.running) == .running)
        #expect(SandboxStatus(SandboxState.ended(reason: "killed")) == .finished)
    }
}
