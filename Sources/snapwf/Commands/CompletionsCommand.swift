import ArgumentParser
import Files
import SnapshotSteps

struct CompletionsCommand: AsyncParsableCommand {
    enum Shell: String, ExpressibleByArgument, CaseIterable { case bash, zsh, fish }

    static let configuration = CommandConfiguration(
        commandName: "completions",
        abstract: "Prints the script with which a shell completes verbs, flags, and the ids of runs and snapshots.",
        discussion: """
            bash: snapwf completions bash > ~/.local/share/bash-completion/completions/snapwf
            zsh:  snapwf completions zsh > ~/.zfunc/_snapwf   (with fpath+=~/.zfunc before compinit in ~/.zshrc)
            fish: snapwf completions fish > ~/.config/fish/completions/snapwf.fish
            """)

    @Argument(help: "The shell: bash, zsh or fish.")
    var shell: Shell

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let kind: CompletionShell =
                switch shell {
                case .bash: .bash
                case .zsh: .zsh
                case .fish: .fish
                }
            try deliver(Snapwf.completionScript(for: kind) + "\n")
        }
    }
}
