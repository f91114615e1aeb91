/// How far a schema is from the one that this program knows.
enum SchemaVersion {
    /// How many of the known changes, the last ones, are missing.
    ///
    /// - Throws: ``WorkflowError/Code/storeNewerThanProgram`` if others were applied.
    static func missing(applied: [String], known: [String]) throws(WorkflowError) -> Int {
        guard applied.count <= known.count, zip(applied, known).allSatisfy(==) else {
            let newer = applied.first { !known.contains($0) }
            throw WorkflowError(
                .storeNewerThanProgram,
                "the store has the schema change '\(newer ?? "?")', which this program does not know: "
                    + "it was written by a newer version; use that version")
        }
        return known.count - applied.count
    }
}
