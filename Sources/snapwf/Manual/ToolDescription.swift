/// What a program says about its own command line (`--experimental-dump-help`), as far as a manual needs it.
struct ToolDescription: Decodable {
    let command: Command

    struct Command: Decodable {
        let commandName: String
        let abstract: String?
        let discussion: String?
        let shouldDisplay: Bool?
        let superCommands: [String]?
        let aliases: [String]?
        let subcommands: [Command]?
        let arguments: [Argument]?
    }

    struct Argument: Decodable {
        enum Kind: String, Decodable { case positional, option, flag }

        struct Name: Decodable {
            let kind: String
            let name: String

            var text: String { (kind == "long" ? "--" : "-") + name }
        }

        let kind: Kind
        let shouldDisplay: Bool
        let sectionTitle: String?
        let isOptional: Bool
        let isRepeating: Bool
        let names: [Name]?
        let valueName: String?
        let defaultValue: String?
        let allValues: [String]?
        let abstract: String?
        let discussion: String?
    }
}

extension ToolDescription.Command {
    /// `snapwf snapshots ls`
    var path: [String] { (superCommands ?? []) + [commandName] }

    /// The verbs that a person sees, without `help`.
    var verbs: [ToolDescription.Command] {
        (subcommands ?? []).filter { $0.commandName != "help" && $0.shouldDisplay ?? true }
    }

    var shown: [ToolDescription.Argument] { (arguments ?? []).filter(\.shouldDisplay) }
}
