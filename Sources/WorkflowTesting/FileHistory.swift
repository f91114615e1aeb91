/// What a disk knows of one file: what is durable, and what happened since in the order in which it was asked for.
struct FileHistory: Sendable {
    enum Change: Sendable {
        case write(offset: Int, bytes: [UInt8])
        case truncate(size: Int)
        /// Unlinked; what follows belongs to a new file of the same name.
        case delete
    }

    /// What a disk promises to write in one piece.
    static let sector = 512

    let name: String
    let durable: [UInt8]
    let changes: [Change]

    /// What the file holds after the power went: the durable content, and of the changes since then nothing, all,
    /// those up to some moment, or any of them. Of a write any sectors may be missing.
    func survivor(_ random: inout some RandomNumberGenerator) -> [UInt8] {
        let lives = changes.split(omittingEmptySubsequences: false) { if case .delete = $0 { true } else { false } }
        // A deletion is a change of the directory and may be lost like any other; with it, all of the next file.
        let life = Int.random(in: 0..<lives.count, using: &random)
        var content = life == 0 ? durable : []
        for change in Self.kept(Array(lives[life]), &random) { Self.apply(change, &content) }
        return content
    }

    private static func kept(_ changes: [Change], _ random: inout some RandomNumberGenerator) -> [Change] {
        switch Int.random(in: 0..<4, using: &random) {
        case 0: return []
        case 1: return changes
        case 2:
            var kept = Array(changes.prefix(Int.random(in: 0...changes.count, using: &random)))
            if let last = kept.popLast() { kept += torn(last, &random) }
            return kept
        default:
            return changes.flatMap { change -> [Change] in
                switch Int.random(in: 0..<8, using: &random) {
                case 0..<4: [change]
                case 4: torn(change, &random)
                default: []
                }
            }
        }
    }

    /// Some sectors of a write.
    private static func torn(_ change: Change, _ random: inout some RandomNumberGenerator) -> [Change] {
        guard case .write(let offset, let bytes) = change else { return [change] }
        var pieces: [Change] = []
        var begin = 0
        while begin < bytes.count {
            let end = min(bytes.count, ((offset + begin) / sector + 1) * sector - offset)
            if Bool.random(using: &random) {
                pieces.append(.write(offset: offset + begin, bytes: Array(bytes[begin..<end])))
            }
            begin = end
        }
        return pieces
    }

    private static func apply(_ change: Change, _ content: inout [UInt8]) {
        func grow(to size: Int) {
            if content.count < size { content += [UInt8](repeating: 0, count: size - content.count) }
        }
        switch change {
        case .write(let offset, let bytes):
            grow(to: offset + bytes.count)
            content.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        case .truncate(let size):
            grow(to: size)
            content.removeLast(content.count - size)
        case .delete:
            content = []
        }
    }
}
