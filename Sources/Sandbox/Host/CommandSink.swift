/// How somebody ends a command early.
protocol CommandWatch: Sendable {
    /// Readable, or hung up, when ``isCancelled()`` is worth asking.
    var readEnd: Int32 { get }
    func isCancelled() -> Bool
}

extension CancelSignal: CommandWatch {
    func isCancelled() -> Bool { true }
}

/// Where what a command says goes.
enum CommandSink: Sendable {
    /// To the end, if it is at most so many bytes a channel.
    case gather(limit: Int)
    /// To a listener, as fast as it takes it.
    case pass(CommandExchange)

    /// Room for complaints, however little output is wanted; the bound for what bwrap says.
    static let leastErrorLimit = 64 << 10
}
