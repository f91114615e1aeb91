import HelperInterface

/// The catalogue of errors in words: for `snapwf help errors`, and for the documentation.
enum ErrorHelp {
    /// All codes, a line each.
    static var list: String {
        let width = ErrorCode.all.map(\.name.count).max() ?? 0
        return ErrorCode.all.map { code in
            "\(code.status.rawValue)".aligned(to: 3) + "  " + code.name.filled(to: width + 2) + code.meaning + "\n"
        }.joined() + "\nThe number is the exit code. What to do about one of them: snapwf help errors CODE\n"
    }

    /// One code.
    static func text(_ code: ErrorCode) -> String {
        "\(code.name) (exit code \(code.status.rawValue))\n\n\(code.meaning)\n\n\(code.remedy)\n"
            + (code.next.map { "\n  \($0)\n" } ?? "")
    }

    /// docs/errors.md.
    static var markdown: String {
        var text = """
            # Errors

            What each `code` of an error document (`--json`) and of `snapwf help errors` means, and what helps. The codes are
            stable. A test keeps this page equal to the program's own catalogue.

            """
        for code in ErrorCode.all {
            text += "\n## \(code.name)\n\nExit code \(code.status.rawValue). \(code.meaning)\n\n\(code.remedy)\n"
            if let next = code.next { text += "\n```sh\n\(next)\n```\n" }
        }
        return text
    }
}
