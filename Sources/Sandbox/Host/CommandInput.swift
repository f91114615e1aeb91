import Glibc

/// What goes to a command's standard input.
struct CommandInput: ~Copyable {
    /// In bytes; 0 where nobody knows.
    let size: UInt64
    private let file: Descriptor
    private let feed: CommandFeed?
    private var bytes: ArraySlice<UInt8>
    private var unread: UInt64

    init(_ contents: FileContents) throws(SandboxError) {
        feed = nil
        switch contents {
        case .bytes(let all):
            size = UInt64(all.count)
            file = .none
            bytes = all[...]
            unread = 0
        case .hostFile(let path):
            let opened = try Descriptor.open(path, O_RDONLY)
            var status = stat()
            guard fstat(opened.raw, &status) == 0 else { throw .system(errno, "look at \(path)") }
            guard status.isRegularFile, let length = UInt64(exactly: status.st_size) else {
                throw SandboxError(.invalidArgument, "\(path) is not a regular file")
            }
            size = length
            file = consume opened
            bytes = []
            unread = length
        }
    }

    /// `nil`: end of file at once.
    init(_ feed: CommandFeed?) {
        size = 0
        file = .none
        self.feed = feed
        bytes = []
        unread = 0
    }

    /// What to write next.
    mutating func next() throws(SandboxError) -> CommandFeed.Next {
        if let feed { return feed.next() }
        guard bytes.isEmpty, unread > 0 else { return bytes.isEmpty ? .end : .bytes(bytes) }
        let raw = file.raw
        var chunk = [UInt8](repeating: 0, count: Int(min(unread, 256 << 10)))
        let count = retrying { read(raw, &chunk, chunk.count) }
        guard count > 0 else {
            throw .system(count < 0 ? errno : EIO, "read a file for the sandbox; did it become shorter")
        }
        unread -= UInt64(count)
        bytes = chunk[..<count]
        return .bytes(bytes)
    }

    mutating func consumed(_ count: Int) {
        if let feed { feed.consume(count) } else { bytes = bytes.dropFirst(count) }
    }

    /// The command reads no more.
    mutating func close() {
        feed?.close()
        bytes = []
        unread = 0
    }
}
