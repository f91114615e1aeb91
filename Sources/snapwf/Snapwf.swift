import ArgumentParser
import Files
import FoundationEssentials
import Glibc
import HelperInterface
import Sandbox

/// The command line: parses, runs one verb, turns its end into an exit code.
@main
struct Snapwf: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapwf",
        abstract: "Turns OCI images into bootable ext4 snapshots, durably.",
        discussion: "snapwf help exit-codes says what each exit code means.",
        version: "snapwf \(Version.text)",
        subcommands: [
            RunCommand.self, SubmitCommand.self, WorkerCommand.self, ResumeCommand.self, GCCommand.self, LsCommand.self,
            ShowCommand.self,
            LogsCommand.self, CancelCommand.self, RmCommand.self, DecideCommand.self, SnapshotsCommand.self,
            BootCommand.self, ServeCommand.self, DoctorCommand.self, StoreCommand.self,
            ConfigCommand.self, CompletionsCommand.self, ManualCommand.self,
        ])

    static func main() async {
        reserveStandardStreams()
        // A reader that went away is an error of a write, never a signal that skips what must be saved.
        signal(SIGPIPE, SIG_IGN)
        // Before everything else: the shim is started for each sandbox and must be small and quick.
        if CommandLine.arguments.count == 3, CommandLine.arguments[1] == Places.shimVerb {
            Glibc.exit(runSandboxShim(directory: CommandLine.arguments[2]))
        }
        if CommandLine.arguments.count == 3, CommandLine.arguments[1] == Places.machineShimVerb {
            Glibc.exit(runGuestShim(directory: CommandLine.arguments[2]))
        }
        Detachment.closeWhatIsInherited()
        // The parser's help traps where its second column has no room.
        if let columns = Terminal.standardOutput.columns, columns < 40 { setenv("COLUMNS", "40", 1) }
        let arguments = Array(CommandLine.arguments.dropFirst())
        answerAtOnce(arguments)
        do {
            var command = try await asyncParseAsRoot(configured(arguments))
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch let exit as Exit {
            Glibc.exit(exit.code)
        } catch {
            // A shell that asks for completions wants words, and nothing on somebody's half-typed line.
            if arguments.first == "---completion", exitCode(for: error) != .success {
                Glibc.exit(ExitStatus.done.rawValue)
            }
            // Help that was asked for is a result, which somebody has to get.
            if exitCode(for: error) == .success { tell(fullMessage(for: error) + "\n") }
            guard exitCode(for: error).rawValue == ExitStatus.usage.rawValue else { exit(withError: error) }
            refuse(UsageReport(error, arguments: arguments), arguments)
        }
    }

    /// With what is set outside the command line. Verbs that explain or check do so too when that is wrong.
    private static func configured(_ arguments: [String]) -> [String] {
        // Asked by a shell, or nothing was asked.
        guard let verb = arguments.first, verb != "help", !verb.hasPrefix("-") else { return arguments }
        do {
            let settings = try Settings(
                variables: ProcessInfo.processInfo.environment, directory: FileManager.default.currentDirectoryPath)
            // The verb that says where values come from is to see them where they are.
            if verb != "config" { settings.exportVariables() }
            return settings.completing(arguments, verbs: command(in: arguments).verbs)
        } catch {
            if ["config", "doctor", "completions", "manual"].contains(verb) { return arguments }
            refuse(UsageReport(message: ErrorReport(error).message, help: "snapwf config show"), arguments)
        }
    }

    /// The command that the arguments name, and how many of them do.
    static func command(in arguments: [String]) -> (command: any ParsableCommand.Type, verbs: Int) {
        var command: any ParsableCommand.Type = Snapwf.self
        var count = 0
        for argument in arguments {
            let next = command.configuration.subcommands.first {
                ($0.configuration.commandName ?? "") == argument || $0.configuration.aliases.contains(argument)
            }
            guard let next else { break }
            command = next
            count += 1
        }
        return (command, count)
    }

    /// What needs no parser: the version, topics of the help, verbs that do not exist.
    private static func answerAtOnce(_ arguments: [String]) {
        switch arguments.first {
        case "--version" where arguments.count == 1:
            tell(VersionText.text(ProcessInfo.processInfo.environment))
        case "help" where arguments.count == 1:
            tell(helpMessage() + "\n\n" + HelpTopic.overview)
        case "help" where arguments.count == 2:
            if let topic = HelpTopic.all.first(where: { $0.name == arguments[1] }) { tell(topic.text + "\n") }
            guard !verbs.contains(arguments[1]), !arguments[1].hasPrefix("-") else { return }
            let near = nearest(arguments[1], among: verbs + HelpTopic.all.map(\.name))
            let hint = near.map { "; did you mean snapwf help \($0)?" } ?? ""
            refuse(
                UsageReport(message: "there is no help about \"\(arguments[1])\"\(hint)", help: "snapwf help"),
                arguments)
        case "help" where arguments.count == 3 && arguments[1] == "errors":
            if let code = ErrorCode.named(arguments[2]) { tell(ErrorHelp.text(code)) }
            let near = nearest(arguments[2], among: ErrorCode.all.map(\.name))
            let hint = near.map { "; did you mean \($0)?" } ?? ""
            refuse(
                UsageReport(message: "there is no error \"\(arguments[2])\"\(hint)", help: "snapwf help errors"),
                arguments)
        case let word? where !word.hasPrefix("-") && !verbs.contains(word):
            refuse(UsageReport(unknown: word), arguments)
        default:
            break
        }
    }

    /// All verbs and their other names.
    static var verbs: [String] {
        configuration.subcommands.flatMap { [$0.configuration.commandName ?? ""] + $0.configuration.aliases } + ["help"]
    }

    private static func tell(_ text: String) -> Never {
        do throws(FileError) {
            try deliver(text)
        } catch {
            let report = ErrorReport(error)
            Terminal.standardError.write(report.text)
            Glibc.exit(report.status.rawValue)
        }
        Glibc.exit(ExitStatus.done.rawValue)
    }

    private static func refuse(_ report: UsageReport, _ arguments: [String]) -> Never {
        if arguments.contains("--json") { say(JSONText.document(report.document), to: 1) }
        Terminal.standardError.write(report.text)
        Glibc.exit(ExitStatus.usage.rawValue)
    }
}
