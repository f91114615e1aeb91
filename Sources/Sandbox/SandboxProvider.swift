/// Something that gives sandboxes.
///
/// The same calls may be repeated after a crash at any moment; each says what a repeat does. Calls are safe from
/// several tasks and several processes at once.
package protocol SandboxProvider: Sendable {
    /// A short word for configuration and messages, such as `local`.
    var name: String { get }

    /// Known without asking anybody, or after ``check()`` where it has to be asked.
    var capabilities: Capabilities { get }

    /// Whether sandboxes can be created here and now.
    ///
    /// - Throws: `SandboxError` whose message says what to do next.
    func check() async throws

    /// Creates a sandbox and waits, within a bound, until it runs.
    ///
    /// A crash or an error that ``SandboxError/isInDoubt`` leaves the outcome open: look with
    /// ``findInDoubt(labels:since:)`` before another attempt. Whatever is visible there carries its labels.
    /// `alreadyExists` means the same: adopt. After any other error there is nothing left of the attempt that lives.
    func create(_ spec: SandboxSpec) async throws -> SandboxInfo

    /// Every sandbox, ended ones included for as long as the provider remembers them: complete, or it throws.
    func list() async throws -> [SandboxInfo]

    /// The sandboxes that carry all these labels, oldest first: complete, or it throws.
    ///
    /// - Parameter since: nothing that was created earlier, by this host's clock, is wanted. A hint that may save
    ///   pages: older ones may be in the answer.
    func find(labels: [String: String], since: UnixTime?) async throws -> [SandboxInfo]

    /// `nil` when the provider knows no such sandbox.
    func get(_ id: SandboxID) async throws -> SandboxInfo?

    /// Runs a command to its end. The exit code is data; only trouble with running it is an error.
    ///
    /// Processes that the command put into a session of their own go on; everything ends with the sandbox.
    func run(_ command: ShortCommand, in id: SandboxID) async throws -> CommandOutput

    /// Runs a command to its end and hands over what it says as it comes, in order within each of the two channels.
    ///
    /// Without a deadline and without a limit: while `onProgress` runs, at most some 100 KiB are taken from the command,
    /// which then has to wait. When the task is cancelled, when `onProgress` throws, or when this process dies, the
    /// command's process group is killed. Processes that the command put into a session of their own go on.
    ///
    /// - Returns: the exit code, 0…255; 128 + n when signal n ended the command.
    /// - Throws: what ``run(_:in:)`` throws (`missingTool` may come after `started`), `CancellationError`, or what
    ///   `onProgress` threw.
    func stream(
        _ command: StreamedCommand, in id: SandboxID, onProgress: (CommandProgress) async throws -> Void
    ) async throws -> Int32

    /// Writes a file aside and renames it into place, so nobody ever sees half of it. Missing parents are made.
    ///
    /// - Parameters:
    ///   - path: absolute, inside the sandbox.
    ///   - mode: the permission bits, such as `0o644`.
    func writeFile(_ path: String, mode: UInt16, contents: FileContents, in id: SandboxID) async throws

    /// - Parameter limit: a larger file is an error of code `outputTooLarge`.
    func readFile(_ path: String, limit: Int, in id: SandboxID) async throws -> [UInt8]

    /// Makes the expiry now + `timeToLive`, later or earlier than before. An ended sandbox cannot be revived.
    func setTimeToLive(_ timeToLive: Duration, of id: SandboxID) async throws

    /// Ends the sandbox and returns when nothing of it runs. Already gone is success.
    func kill(_ id: SandboxID) async throws

    /// Where a file of the sandbox is on this host, with the capability ``Capabilities/hostFiles``; else `nil`.
    ///
    /// What is there was written by the sandbox: do not follow symbolic links out of it.
    func hostPath(of path: String, in id: SandboxID) -> String?
}

extension SandboxProvider {
    /// - Throws: code `unimplemented` for a snapshot, or for a sandbox without network, that nobody here can give.
    func refuseSnapshots(_ spec: SandboxSpec) throws(SandboxError) {
        guard spec.snapshot != nil || !spec.hasNetwork else { return }
        throw SandboxError(
            .unimplemented,
            "sandboxes of the provider \(name) cannot boot from a snapshot or be kept from the network; use the "
                + "provider vm")
    }

    package func find(labels: [String: String]) async throws -> [SandboxInfo] {
        try await find(labels: labels, since: nil)
    }

    package func find(labels: [String: String], since: UnixTime?) async throws -> [SandboxInfo] {
        try await list().carrying(labels)
    }

    /// What a creation in doubt made, oldest first. Nothing is believed only after the provider's
    /// ``Capabilities/listingLag``: until then it is asked again, so this call takes that long where there is nothing.
    ///
    /// - Throws: what ``find(labels:since:)`` throws; nothing is known then.
    package func findInDoubt(labels: [String: String], since: UnixTime?) async throws -> [SandboxInfo] {
        let lag = capabilities.listingLag
        let end = SteadyClock.now() + lag
        var pause = min(Duration.milliseconds(500), lag)
        while true {
            // Before the list: what it shows has to be as young as the lag is old.
            let rest = end - SteadyClock.now()
            let found = try await find(labels: labels, since: since)
            guard found.isEmpty, rest > .zero else { return found }
            try await Task.sleep(for: min(pause, rest))
            pause = min(pause * 2, .seconds(10))
        }
    }

    package func hostPath(of path: String, in id: SandboxID) -> String? { nil }

    package func stream(
        _ command: StreamedCommand, in id: SandboxID, onProgress: (CommandProgress) async throws -> Void
    ) async throws -> Int32 {
        throw SandboxError(.unimplemented, "the provider \(name) cannot stream a command's output")
    }

    package func run(_ arguments: [String], in id: SandboxID) async throws -> CommandOutput {
        try await run(ShortCommand(arguments), in: id)
    }
}

extension [SandboxInfo] {
    /// Those that carry all these labels, oldest first.
    func carrying(_ labels: [String: String]) -> [SandboxInfo] {
        filter { $0.carries(labels: labels) }
            .sorted { ($0.createdAt, $0.id.rawValue) < ($1.createdAt, $1.id.rawValue) }
    }
}
