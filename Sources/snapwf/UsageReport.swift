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
        let (command, verbs) = Snapwf.command(in: arguments)
        let path = arguments.prefix(verbs).map { $0 + " " }.joined()
        if let word = arguments.dropFirst(verbs).first, words.hasPrefix("Unexpected argument"),
            !command.configuration.subcommands.isEmpty
        {
            let names = command.configuration.subcommands.compactMap { $0.configuration.commandName }
            let near = nearest(word, among: names).map { "; did you mean snapwf \(path)\($0)?" } ?? ""
            words = "there is no verb \"\(path)\(word)\"\(near)"
        } else if let near = Self.nearestValue(in: words) {
            words += " Did you mean '\(near)'?"
        }
        message = words
        help = path.isEmpty ? "snapwf help" : "snapwf help \(path.dropLast())"
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

    /// The value that was probably meant, of those that the parser lists.
    private static func nearestValue(in words: String) -> String? {
        guard let found = words.firstMatch(of: /The value '([^']*)' is invalid for .*Please provide one of/) else {
            return nil
        }
        let list = words[found.range.upperBound...]
        let values =
            list.matches(of: /'([^']+)'/).map { String($0.1) } + list.matches(of: /- ([a-z-]+)/).map { String($0.1) }
        return nearest(String(found.1), among: values)
    }

    var text: String { "snapwf: \(message)\n  next: \(help)\n" }

    var document: ErrorDocument {
        ErrorDocument(
            error: .init(
                code: ErrorCode.usage.name, message: message, run: nil, step: nil, attempt: nil, next: help,
                exitCode: ExitStatus.usage.rawValue))
    }
}
