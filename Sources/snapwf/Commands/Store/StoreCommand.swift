import ArgumentParser

struct StoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store",
        abstract: "The store that runs are recorded in: shows it, and moves all runs to another one.",
        discussion: """
            Without --store it is workflow.db in the state directory. Machines that share a store name the same \
            PostgreSQL database: docs/scale.md says when that is worth it.
            """,
        subcommands: [StoreStatus.self, CopyStore.self, ReopenStore.self], defaultSubcommand: StoreStatus.self)
}
