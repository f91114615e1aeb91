import Files

extension Catalog {
    /// The snapshot that a person means: by a name, an id, `@last`, a key or SHA-256, or a unique prefix of one of them.
    ///
    /// A name counts before everything else but `@last`.
    /// - Throws: `snapshotNotFound` naming the nearest right one, or what else the prefix means.
    package func find(_ text: String) async throws -> Snapshot {
        try await onOwnThread { try findBlocking(text) }
    }

    private func findBlocking(_ text: String) throws(SnapshotError) -> Snapshot {
        if text == "@last" {
            guard let last = try database.newestSnapshot() else { throw Self.noSnapshot }
            return located(last)
        }
        if let named = try database.snapshot(name: text) { return located(named) }
        var digits = text.lowercased()
        for prefix in ["snap-", "sha256:"] where digits.hasPrefix(prefix) {
            digits = String(digits.dropFirst(prefix.count))
        }
        let isHex = (1...64).contains(digits.utf8.count) && digits.utf8.allSatisfy(CatalogLayout.isHexDigit)
        let found = isHex ? try database.snapshots(prefix: digits, limit: 5) : []
        if found.count == 1 { return located(found[0]) }
        if found.isEmpty { throw try unknown(text) }
        // One file under several keys: pulled under one and made here under another.
        if digits.utf8.count == 64, let newest = found.last { return located(newest) }
        let some = found.prefix(4).map(\.id).joined(separator: ", ")
        throw SnapshotError(
            .snapshotNotFound,
            "\"\(text)\" names several snapshots (\(some)\(found.count > 4 ? "…" : "")); write more of it")
    }

    package static var noSnapshot: SnapshotError {
        SnapshotError(.snapshotNotFound, "there is no snapshot yet; make one: snapwf run IMAGE")
    }

    private func unknown(_ text: String) throws(SnapshotError) -> SnapshotError {
        let candidates = try database.namesAndIDs(limit: 10_000)
        if candidates.isEmpty { return Self.noSnapshot }
        let shown = printable(text.prefix(120))
        guard let nearest = nearest(to: text, among: candidates) else {
            return SnapshotError(
                .snapshotNotFound, "there is no snapshot \"\(shown)\"; list them: snapwf snapshots ls")
        }
        return SnapshotError(
            .snapshotNotFound,
            "there is no snapshot \"\(shown)\"; the nearest is \"\(nearest)\"; list them: snapwf snapshots ls")
    }
}

/// `text` without what a terminal would obey.
func printable(_ text: some StringProtocol) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? "?" : $0 }))
}

/// The candidate that is most like `text`, when one is like it at all: at most two, or a third of the letters, differ.
func nearest(to text: String, among candidates: [String]) -> String? {
    let wanted = Array(text.utf8.prefix(128))
    var best: (text: String, distance: Int)?
    for candidate in candidates {
        let distance = editDistance(wanted, Array(candidate.utf8.prefix(128)), atMost: best?.distance ?? .max)
        if distance < best?.distance ?? .max { best = (candidate, distance) }
    }
    guard let best, best.distance <= max(2, wanted.count / 3) else { return nil }
    return best.text
}

/// Insertions, removals and replacements of bytes that make one of the other (Levenshtein); any larger number where it
/// is beyond the limit.
private func editDistance(_ one: [UInt8], _ other: [UInt8], atMost limit: Int) -> Int {
    if abs(one.count - other.count) >= limit { return .max }
    var row = Array(0...other.count)
    for (i, byte) in one.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, otherByte) in other.enumerated() {
            let replaced = diagonal + (byte == otherByte ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(replaced, row[j] + 1, diagonal + 1)
        }
    }
    return row[other.count]
}
