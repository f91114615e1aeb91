/// What the asking script printed.
struct CommandAnswer: Sendable {
    struct Process: Hashable, Sendable {
        var bootID: String
        var isAlive: Bool
    }

    var bootID = ""
    /// The claim's token; `nil`: nobody claimed the command.
    var claim: String?
    var process: Process?
    var exitCode: Int32?
    var logSize: UInt64 = 0
    /// From the block that holds the offset on.
    var data: ArraySlice<UInt8> = []

    /// - Returns: `nil` for an answer that is cut, or none.
    init?(_ bytes: [UInt8]) {
        var rest = bytes[...]
        var isTitled = false
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            let line = String(decoding: rest[..<end], as: UTF8.self)
            rest = rest[(end + 1)...]
            if line.isEmpty { break }
            let words = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
            switch words[0] {
            case "snapwf-command": isTitled = words.last == "1"
            case "boot": bootID = words.last ?? ""
            case "claim": claim = words.last ?? ""
            case "pid" where words.count == 4: process = Process(bootID: words[2], isAlive: words[3] == "yes")
            case "rc":
                guard let code = Int32(words.last ?? "") else { return nil }
                exitCode = code
            case "size":
                guard let size = UInt64(words.last ?? "") else { return nil }
                logSize = size
            case "data":
                guard let count = Int(words.last ?? ""), isTitled, rest.first == UInt8(ascii: "\n"),
                    rest.count - 1 >= count
                else { return nil }
                data = rest.dropFirst().prefix(count)
                return
            default: return nil
            }
        }
        return nil
    }

    var verdict: CommandVerdict {
        guard let claim else { return .notStarted }
        if let exitCode { return .finished(exitCode: exitCode) }
        guard let process else { return .claimed(token: claim) }
        if process.bootID != bootID { return .lost(reason: "the machine of the sandbox was restarted") }
        return process.isAlive ? .running : .lost(reason: "its process is gone and left no exit code")
    }

    /// The log from an offset on, at most a chunk.
    func output(from offset: UInt64) -> [UInt8] {
        let skipped = Int(offset % CommandScripts.block)
        return Array(data.dropFirst(skipped).prefix(Self.chunk))
    }

    private static let chunk = 1 << 20
}
