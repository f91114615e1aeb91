import Files

extension Catalog {
    /// Gives a snapshot a name; the one that had it loses it.
    ///
    /// - Returns: the id of the snapshot that had the name, where that was another one.
    /// - Throws: `usage` for what cannot be a name, `snapshotNotFound` when the snapshot was removed.
    @discardableResult
    package func tag(_ snapshot: Snapshot, as name: String) async throws -> String? {
        try Self.checkName(name)
        return try await onOwnThread {
            try database.setName(name, key: snapshot.key, id: snapshot.id, at: millisecondsNow())
        }
    }

    /// Takes a name away; the snapshot stays.
    ///
    /// - Throws: `snapshotNotFound` when no snapshot has it.
    package func untag(_ name: String) async throws {
        try await onOwnThread {
            guard try database.removeName(name) else {
                throw SnapshotError(
                    .snapshotNotFound,
                    "no snapshot is called \"\(printable(name.prefix(120)))\"; list them: snapwf snapshots ls")
            }
        }
    }

    /// Sets labels, or with an empty value takes them away.
    package func label(_ snapshot: Snapshot, _ labels: [String: String]) async throws {
        for (name, value) in labels { try Self.checkLabel(name, value) }
        try await onOwnThread { try database.setLabels(labels, key: snapshot.key, id: snapshot.id) }
    }

    /// Notes that a registry holds the snapshot.
    package func note(_ artifact: SnapshotArtifact, of snapshot: Snapshot) async throws {
        try await onOwnThread { try database.note(artifact, key: snapshot.key, id: snapshot.id) }
    }

    /// Notes where a snapshot was pushed to.
    ///
    /// - Parameter reference: by digest.
    package func notePush(of snapshot: Snapshot, to reference: String) async throws {
        try await note(SnapshotArtifact(reference: reference, way: .pushed, notedAt: millisecondsNow()), of: snapshot)
    }

    /// Notes how long a boot took that proved that the snapshot boots.
    package func noteBoot(of snapshot: Snapshot, milliseconds: Int) async throws {
        try await onOwnThread { try database.setBootTime(milliseconds, key: snapshot.key, id: snapshot.id) }
    }

    /// What a name may be: 1 to 128 letters, digits, `.`, `_`, `-`, `/` and `:`, a letter or digit first; and nothing
    /// that reads as an id.
    package static func checkName(_ name: String) throws(SnapshotError) {
        let isWell = { (byte: UInt8) in isNameByte(byte) || byte == UInt8(ascii: "/") || byte == UInt8(ascii: ":") }
        let punctuation: Set<UInt8> = [UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-")]
        guard let first = name.utf8.first, name.utf8.count <= 128, name.utf8.allSatisfy(isWell), isNameByte(first),
            !punctuation.contains(first)
        else {
            throw SnapshotError(
                .usage,
                """
                "\(printable(name.prefix(120)))" cannot be a name: write 1 to 128 letters, digits and . _ - / : with a \
                letter or digit first
                """)
        }
        guard !name.hasPrefix("snap-"), !name.hasPrefix("sha256:") else {
            throw SnapshotError(.usage, "\"\(name)\" reads as the id of a snapshot; choose another name")
        }
    }

    /// What a label may be: a name of 1 to 63 letters, digits, `.`, `_`, `-` and `/`, a value of up to 256 bytes without
    /// control characters.
    package static func checkLabel(_ name: String, _ value: String) throws(SnapshotError) {
        let isWell = { (byte: UInt8) in isNameByte(byte) || byte == UInt8(ascii: "/") }
        guard (1...63).contains(name.utf8.count), name.utf8.allSatisfy(isWell) else {
            throw SnapshotError(
                .usage,
                """
                "\(printable(name.prefix(120)))" cannot be the name of a label: write 1 to 63 letters, digits and . _ - /, \
                as in --label team=web
                """)
        }
        guard value.utf8.count <= 256, !value.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F })
        else {
            throw SnapshotError(
                .usage, "the value of the label \(name) is longer than 256 bytes, or has control characters")
        }
    }
}
