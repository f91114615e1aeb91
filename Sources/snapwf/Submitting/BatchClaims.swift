import SnapshotSteps

/// What the images of a batch are to become, which only one of them can: a file, a name of the catalog with its registered
/// place, a tag of a registry.
struct BatchClaims {
    private var lines: [String: Int] = [:]

    /// - Throws: `usage`, naming the line that asks for the same.
    mutating func take(_ request: SnapshotRequest, line: Int) throws {
        let wanted = [
            ("would be written to", request.exportPath), ("is named", request.name), ("is pushed to", request.push),
        ]
        for (verb, thing) in wanted {
            guard let thing else { continue }
            if let other = lines["\(verb) \(thing)"] {
                throw SnapshotError(.usage, "the image of line \(other) \(verb) \(thing), too")
            }
            lines["\(verb) \(thing)"] = line
        }
    }
}
