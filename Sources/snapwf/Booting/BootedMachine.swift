import Files
import Glibc
import GuestProtocol
import Sandbox
import SnapshotSteps
import UnixSignals

/// A virtual machine that lives as long as one command in it, and this process.
///
/// Killed here, its time to live, which is short and renewed while this process lives, ends the machine.
struct BootedMachine {
    private static let timeToLive = Duration.seconds(60)
    /// Until it is up: a busy host without KVM takes minutes.
    static let startingTimeToLive = Duration.seconds(6 * 60)
    private static let heartbeat = Duration.seconds(15)
    /// How long the machine may take to put its disk in order.
    private static let powerOffPatience = Duration.seconds(5)

    let provider: VMProvider
    /// Whether the end of its console is shown.
    let showsConsole: Bool
    /// Told of the machine and of how long it took to come up.
    let onBoot: @MainActor (SandboxInfo, Duration) -> Void

    /// - Parameters:
    ///   - isInteractive: whether the command gets this program's standard input.
    ///   - timeout: ends the machine.
    /// - Returns: the command's exit code; 128 + n when signal n ended it, or this program was told to end by it.
    @MainActor
    func run(_ request: CommandRequest, isInteractive: Bool, in spec: SandboxSpec, timeout: Duration?) async throws
        -> Int32
    {
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
        let start = ContinuousClock.now
        let provider = provider
        let work = Task { () async throws -> Int32 in
            let machine = try await provider.create(spec)
            onBoot(machine, ContinuousClock.now - start)
            do {
                let code = try await withHeartbeat(machine.id) {
                    try await execute(request, isInteractive: isInteractive, in: machine.id)
                }
                await end(machine.id, shows: showsConsole)
                return code
            } catch {
                await end(machine.id, shows: showsConsole || (error as? SandboxError)?.code == .ended)
                throw error
            }
        }
        let interruption = Interruption()
        let watch = Task { @MainActor in
            for await signal in signals {
                // A second one does not wait; the machine's time to live ends it then.
                if interruption.status != nil {
                    RawTerminal.restoreAny()
                    _exit(130)
                }
                interruption.status = 128 + signal.rawValue
                work.cancel()
            }
        }
        let clock = Task { @MainActor in
            guard let timeout else { return }
            try await Task.sleep(for: timeout)
            interruption.hasTimedOut = true
            work.cancel()
        }
        defer {
            watch.cancel()
            clock.cancel()
        }
        do {
            return try await work.value
        } catch is CancellationError {
            if interruption.hasTimedOut {
                throw SnapshotError(
                    .failed,
                    "the command did not end within \(spanText(timeout ?? .zero)), and was ended with its machine")
            }
            return interruption.status ?? 130
        }
    }

    /// Why the machine is being ended from outside.
    @MainActor
    private final class Interruption {
        var status: Int32?
        var hasTimedOut = false
    }

    private func execute(_ request: CommandRequest, isInteractive: Bool, in id: SandboxID) async throws -> Int32 {
        var request = request
        request.hasInput = isInteractive
        let control = GuestControl()
        let terminal = request.terminal == nil ? nil : try RawTerminal(control)
        defer { terminal?.restore() }
        let feed = isInteractive ? CommandFeed() : nil
        let input = feed.map { StandardInput($0) }
        defer { input?.stop() }
        do {
            return try await provider.stream(request, input: feed, control: control, in: id) { progress in
                switch progress {
                case .started: break
                case .output(let bytes): try await pass(bytes, to: STDOUT_FILENO)
                case .errors(let bytes): try await pass(bytes, to: STDERR_FILENO)
                }
            }
        } catch let error as SandboxError where error.code == .missingTool {
            // As a shell says it.
            Terminal.standardError.write("snapwf: \(error.message)\n")
            return 127
        }
    }

    /// On a thread of its own: whoever reads may take long.
    private func pass(_ bytes: [UInt8], to descriptor: Int32) async throws {
        try await onOwnThread { try writeAll(bytes, to: descriptor) }
    }

    private func withHeartbeat(_ id: SandboxID, _ body: () async throws -> Int32) async throws -> Int32 {
        let provider = provider
        let heart = Task {
            while true {
                // One that fails is followed by another before the time is over.
                try? await provider.setTimeToLive(Self.timeToLive, of: id)
                try await Task.sleep(for: Self.heartbeat)
            }
        }
        defer { heart.cancel() }
        return try await body()
    }

    /// Ends the machine in order where it can, and in any case.
    private func end(_ id: SandboxID, shows: Bool) async {
        // In a task of its own: what is over is over although this task was cancelled.
        await Task {
            if shows, let console = try? await provider.console(of: id), !console.lines.isEmpty {
                Terminal.standardError.write(
                    "--- console of the machine\n" + console.lines.joined(separator: "\n") + "\n---\n")
            }
            try? await provider.powerOff(id, patience: Self.powerOffPatience)
            do {
                try await provider.kill(id)
            } catch {
                Terminal.standardError.write(
                    "snapwf: the machine \(id) could not be ended: \(error); its time to live ends it\n")
            }
        }.value
    }
}
