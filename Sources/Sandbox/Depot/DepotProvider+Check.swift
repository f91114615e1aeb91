import Connect
import SandboxAPI

extension DepotProvider {
    /// Asks for one sandbox and for one snapshot: that proves the address, the token and the organisation, and tells
    /// whether this version has snapshots.
    package func check() async throws {
        var request = ListSandboxesRequest()
        request.pageSize = 1
        do {
            _ = try await client.unary(
                SandboxMethods.listSandboxes, request, deadline: configuration.answerPatience)
        } catch {
            if error.code == .unimplemented {
                throw SandboxError(
                    .incompatible,
                    "the API at \(address) is too old or another one: it has no \(SandboxMethods.service)/"
                        + "ListSandboxes; check --api or DEPOT_API_URL (\(error))", cause: error
                )
            }
            throw cancelled(error) ?? translated(error, "list sandboxes")
        }
        learned(snapshots: try await hasSnapshots())
    }

    private func hasSnapshots() async throws -> Bool {
        var request = ListSnapshotsRequest()
        request.pageSize = 1
        do {
            _ = try await client.unary(
                SandboxMethods.listSnapshots, request, deadline: configuration.answerPatience)
            return true
        } catch {
            // A part of the API that is not needed, or has trouble just now, is no reason to refuse the rest.
            if let cancelled = cancelled(error) { throw cancelled }
            return false
        }
    }
}
