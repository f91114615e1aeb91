import ArgumentParser
import Glibc
import SnapshotSteps

/// What `--filter` asks of a snapshot.
enum SnapshotFilter: ExpressibleByArgument, Equatable {
    /// One of its names is like this.
    case name(pattern: String)
    case label(name: String, value: String?)

    init?(argument: String) {
        let parts = argument.split(separator: "=", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
        guard parts.count > 1, !parts[1].isEmpty else { return nil }
        switch parts[0] {
        case "name" where parts.count == 2: self = .name(pattern: parts[1])
        case "label": self = .label(name: parts[1], value: parts.count > 2 ? parts[2] : nil)
        default: return nil
        }
    }

    func holds(of snapshot: Snapshot) -> Bool {
        switch self {
        case .name(let pattern): snapshot.names.contains { fnmatch(pattern, $0, 0) == 0 }
        case .label(let name, let value):
            snapshot.labels[name].map { value == nil || $0 == value } ?? false
        }
    }
}

/// `NAME=VALUE` of `--label`.
struct LabelArgument: ExpressibleByArgument {
    let name: String
    let value: String

    init?(argument: String) {
        guard let equals = argument.firstIndex(of: "="), equals > argument.startIndex else { return nil }
        name = String(argument[..<equals])
        value = String(argument[argument.index(after: equals)...])
    }

    /// The last of several values for a name counts.
    static func dictionary(_ labels: [LabelArgument]) throws(SnapshotError) -> [String: String] {
        for label in labels { try Catalog.checkLabel(label.name, label.value) }
        return Dictionary(labels.map { ($0.name, $0.value) }) { $1 }
    }
}
