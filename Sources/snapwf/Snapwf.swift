import ArgumentParser
import Files
import Glibc
import HelperInterface
import Sandbox

/// The command line: parses, runs one verb, turns its end into an exit code.
@main
struct Snapwf: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapwf",
        abstract: "Turns OCI images into bootable ext4 snapshots, durably.",
        discussion: """
            Exit codes: 0 done · 1 failed · 2 in doubt, needs a decision · 3 not found · 4 credentials · \
            5 the image or its data is bad · 6 something that should answer does not · 64 usage · \
            75 interrupted, go on with snapwf resume · 130 forced.
            """,
        version: "snapwf \(Version.text)",
        subcommands: [
            RunCommand.self, ResumeCommand.self, GCCommand.self, LsCommand.self, ShowCommand.self,
            LogsCommand.self, CancelCommand.self, RmCommand.self, DecideCommand.self, SnapshotsCommand.self,
            BootCommand.self, ServeCommand.self, DoctorCommand.self,
        ])

    static func main() async {
        reserveStandardStreams()
        // A reader that went away is an error of a write, never a signal that skips what must be saved.
        signal(SIGPIPE, SIG_IGN)
        // Before everything else: the shim is started for each sandbox and must be small and quick.
        if CommandLine.arguments.count == 3, CommandLine.arguments[1] == shimVerb {
            Glibc.exit(runSandboxShim(directory: CommandLine.arguments[2]))
        }
        if CommandLine.arguments.count == 3, CommandLine.arguments[1] == machineShimVerb {
            Glibc.exit(runGuestShim(directory: CommandLine.arguments[2]))
        }
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch let exit as Exit {
            Glibc.exit(exit.status.rawValue)
        } catch {
            Snapwf.exit(withError: error)
        }
    }

    /// The hidden verb that a sandbox's shim is started with.
    static let shimVerb = "sandbox-shim"
    /// The same for a virtual machine's.
    static let machineShimVerb = "guest-shim"
}

/// The command is over and everything there was to say has been said.
struct Exit: Error {
    let status: ExitStatus

    init(_ status: ExitStatus) { self.status = status }
}
