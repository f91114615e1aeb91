import Connect
import Testing

@Suite("Errors of calls")
struct ConnectErrorTests {
    @Test("the codes have the names of the protocol")
    func names() {
        #expect(ConnectError.Code.allCases.count == 16)
        #expect(ConnectError.Code(rawValue: "failed_precondition") == .failedPrecondition)
        #expect(ConnectError(.notFound, "no such sandbox").description == "not_found: no such sandbox")
        #expect(ConnectError(.canceled, "").description == "canceled")
    }
}
