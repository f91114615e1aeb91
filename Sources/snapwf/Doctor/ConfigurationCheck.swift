import FoundationEssentials
import SnapshotSteps

/// Files and variables that say how runs are made.
enum ConfigurationCheck {
    static func run(_ variables: [String: String]) -> Finding {
        do {
            let settings = try Settings(variables: variables, directory: FileManager.default.currentDirectoryPath)
            let files = settings.files.filter(\.isThere).map(\.path)
            return .ok(
                "configuration", files.isEmpty ? "no file; defaults and the environment" : files.joined(separator: ", ")
            )
        } catch {
            return .fail("configuration", ErrorReport(error).message, next: "put it right; then: snapwf config show")
        }
    }
}
