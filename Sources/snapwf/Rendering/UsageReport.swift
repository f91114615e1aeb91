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
        help = (["snapwf help"] + arguments.prefix(Snapwf.verbCount(arguments))).joined(separator: " ")
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

    var text: String { "snapwf: \(message)\n  next: \(help)\n" }

    var document: ErrorDocument {
        ErrorDocument(
            error: .init(
                code: ErrorCode.usage.name, message: message, run: nil, step: nil, attempt: nil, next: help,
                exitCode: ExitStatus.usage.rawValue))
    }
}
