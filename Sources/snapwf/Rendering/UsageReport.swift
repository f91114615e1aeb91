import ArgumentParser
import HelperInterface

/// What a command line that cannot be understood is answered with.
struct UsageReport {
    let message: String
    /// The help that says how it is written.
    let help: String

    /// - Parameters:
    ///   - error: the parser's.
    ///   - arguments: without the program's name.
    init(_ error: any Error, arguments: [String]) {
        var words = Snapwf.message(for: error)
        if words.hasPrefix("Error: ") { words.removeFirst("Error: ".count) }
        message = words
        help = Self.help(for: arguments)
    }

    init(message: String, help: String) {
        self.message = message
        self.help = help
    }

    init(unknown verb: String) {
        let near = nearest(verb, among: Snapwf.verbs)
        message = "there is no verb \"\(verb)\"" + (near.map { "; did you mean snapwf \($0)?" } ?? "")
        help = "snapwf help"
    }

    /// `snapwf help snapshots rm`, as far as the arguments name verbs.
    private static func help(for arguments: [String]) -> String {
        var command: any ParsableCommand.Type = Snapwf.self
        var words = "snapwf help"
        for argument in arguments {
            let next = command.configuration.subcommands.first {
                ($0.configuration.commandName ?? "") == argument || $0.configuration.aliases.contains(argument)
            }
            guard let next else { break }
            command = next
            words += " " + argument
        }
        return words
    }

    var text: String { "snapwf: \(message)\n  next: \(help)\n" }

    var document: ErrorDocument {
        ErrorDocument(
            error: .init(
                code: ErrorCode.usage.name, message: message, run: nil, step: nil, attempt: nil, next: help,
                exitCode: ExitStatus.usage.rawValue))
    }
}
