/// A manual page in mdoc(7), made of what a program says about one of its verbs.
struct ManualPage {
    let command: ToolDescription.Command
    /// As mdoc wants it: `November 28, 2026`, or `$Mdocdate$`.
    let date: String
    /// Further sections: a title and lines that are ready.
    var sections: [(title: String, text: String)] = []

    private var title: String { command.path.joined(separator: "-") }

    var fileName: String { title + ".1" }

    var text: String {
        var lines = [
            ".Dd \(date)", ".Dt \(title.uppercased()) 1", ".Os", ".Sh NAME", ".Nm \(Self.escaped(title))",
            ".Nd \(Self.oneLine(command.abstract ?? "").trimmingDot)", ".Sh SYNOPSIS",
            ".Nm \"\(command.path.joined(separator: " "))\"",
        ]
        lines += command.shown.map(synopsis)
        if !command.verbs.isEmpty { lines += [".Ar verb", ".Op Ar argument ..."] }
        if let discussion = command.discussion, !discussion.isEmpty {
            lines += [".Sh DESCRIPTION"] + Self.paragraphs(discussion)
        }
        if !command.verbs.isEmpty {
            lines += [".Sh VERBS", ".Bl -tag -width Ds"]
            for verb in command.verbs {
                lines += [".It Xr \(verb.path.joined(separator: "-")) 1"] + Self.paragraphs(verb.abstract ?? "")
            }
            lines.append(".El")
        }
        lines += arguments("ARGUMENTS", command.shown.filter { $0.kind == .positional })
        lines += arguments("OPTIONS", command.shown.filter { $0.kind != .positional })
        for section in sections {
            lines += [".Sh \(section.title.uppercased())"] + Self.literal(section.text)
        }
        if command.path.count > 1 {
            lines += [".Sh SEE ALSO", ".Xr \(command.path.dropLast().joined(separator: "-")) 1"]
        } else {
            lines += [".Sh SEE ALSO"] + (command.path == ["snapwf"] ? [".Xr snapshot 1"] : [".Xr snapwf 1"])
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private func synopsis(_ argument: ToolDescription.Argument) -> String {
        var words: String
        if argument.kind == .positional {
            words = "Ar \(Self.escaped(argument.valueName ?? "argument"))"
        } else {
            words = "Fl \(Self.flag(argument.names?.last?.text ?? ""))"
            if argument.kind == .option { words += " Ar \(Self.escaped(argument.valueName ?? "value"))" }
        }
        if argument.isRepeating { words += " ..." }
        return argument.isOptional ? ".Op \(words)" : ".\(words)"
    }

    private func arguments(_ title: String, _ arguments: [ToolDescription.Argument]) -> [String] {
        guard !arguments.isEmpty else { return [] }
        var lines = [".Sh \(title)"]
        var section: String?
        var isOpen = false
        for argument in arguments {
            if argument.sectionTitle != section || !isOpen {
                if isOpen { lines.append(".El") }
                section = argument.sectionTitle
                if let section { lines.append(".Ss \(Self.escaped(section))") }
                lines.append(".Bl -tag -width Ds")
                isOpen = true
            }
            lines.append(".It " + item(argument))
            lines += Self.paragraphs(argument.abstract ?? "")
            if let values = argument.allValues, !values.isEmpty, argument.kind == .option {
                lines += Self.paragraphs("One of: " + values.joined(separator: ", ") + ".")
            }
            if let value = argument.defaultValue, argument.kind == .option {
                lines += Self.paragraphs("Default: \(value).")
            }
        }
        return lines + [".El"]
    }

    private func item(_ argument: ToolDescription.Argument) -> String {
        guard argument.kind != .positional else { return "Ar \(Self.escaped(argument.valueName ?? "argument"))" }
        let value = argument.kind == .option ? " Ar \(Self.escaped(argument.valueName ?? "value"))" : ""
        return (argument.names ?? []).map { "Fl \(Self.flag($0.text))\(value)" }.joined(separator: " , ")
    }

    // MARK: - mdoc

    /// Behind `.Fl`, which puts one dash itself.
    private static func flag(_ text: String) -> String { escaped(String(text.dropFirst())) }

    private static func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "\\": result += "\\e"
            case "-": result += "\\-"
            case "…": result += "..."
            default: result.append(character)
            }
        }
        // A word of two or three letters could be one of mdoc's macros.
        return result.count <= 3 ? "\\&" + result : result
    }

    private static func oneLine(_ text: String) -> String {
        text.split { $0.isNewline }.joined(separator: " ").replacing("…", with: "...")
    }

    /// Lines of running text, none of which begins like a request.
    private static func paragraphs(_ text: String) -> [String] {
        var lines: [String] = []
        var isLiteral = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            let code = line.hasPrefix("  ") || line.contains("  ")
            if code != isLiteral {
                // The display makes a paragraph of its own.
                if code, lines.last == ".Pp" { lines.removeLast() }
                lines.append(code ? ".Bd -literal" : ".Ed")
                isLiteral = code
            }
            if line.isEmpty {
                lines.append(".Pp")
            } else if code {
                lines.append(body(String(line)))
            } else {
                lines += sentences(String(line)).flatMap(filled).map(body)
            }
        }
        if isLiteral { lines.append(".Ed") }
        while lines.last == ".Pp" { lines.removeLast() }
        return lines
    }

    /// mdoc(7) wants a new line for each, so that the space behind it is right.
    private static func sentences(_ line: String) -> [String] {
        var found = [""]
        for word in line.split(separator: " ") {
            found[found.count - 1] += (found[found.count - 1].isEmpty ? "" : " ") + word
            if word.hasSuffix(".") || word.hasSuffix(":") || word.hasSuffix("!") { found.append("") }
        }
        return found.filter { !$0.isEmpty }
    }

    /// Input lines of at most 80 bytes; what is shown is filled anew.
    private static func filled(_ sentence: String) -> [String] {
        var lines = [""]
        for word in sentence.split(separator: " ") {
            let line = lines[lines.count - 1]
            if line.isEmpty {
                lines[lines.count - 1] = String(word)
            } else if line.utf8.count + 1 + word.utf8.count <= 78 {
                lines[lines.count - 1] = line + " " + word
            } else {
                lines.append(String(word))
            }
        }
        return lines
    }

    private static func literal(_ text: String) -> [String] {
        [".Bd -literal"] + text.split(separator: "\n", omittingEmptySubsequences: false).map { body(String($0)) } + [
            ".Ed"
        ]
    }

    private static func body(_ line: String) -> String {
        let safe = line.replacing("\\", with: "\\e").replacing("…", with: "...")
        return safe.hasPrefix(".") || safe.hasPrefix("'") ? "\\&" + safe : safe
    }
}

extension String {
    fileprivate var trimmingDot: String { hasSuffix(".") ? String(dropLast()) : self }
}
