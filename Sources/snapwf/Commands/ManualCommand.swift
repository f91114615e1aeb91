import ArgumentParser
import Files
import FoundationEssentials
import Glibc
import HelperInterface
import SnapshotSteps

/// Writes manual pages; for who packs a release.
struct ManualCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "manual",
        abstract: "Writes the manual pages of the program that describes itself on standard input.",
        discussion: "snapwf --experimental-dump-help | snapwf manual DIRECTORY",
        shouldDisplay: false)

    @Argument(help: "Where the pages go; made where there is none.")
    var directory: String

    @OptionGroup var options: GlobalOptions

    /// A program's description of itself is some 100 KiB.
    private static let largest = 16 << 20

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let description = try description(try readInput())
            try makeDirectories(directory, mode: 0o755)
            let root = description.command
            var sections: [(String, String)] = []
            if root.commandName == "snapwf" {
                sections = HelpTopic.all.map { (Self.title(of: $0), $0.text) }
            }
            try write(root, sections, try Self.date())
        }
    }

    private func description(_ input: Data) throws -> ToolDescription {
        do {
            return try JSONDecoder().decode(ToolDescription.self, from: input)
        } catch {
            throw SnapshotError(.usage, "standard input is no description of a program")
        }
    }

    private func write(_ command: ToolDescription.Command, _ sections: [(String, String)], _ date: String) throws {
        let page = ManualPage(command: command, date: date, sections: sections)
        try replaceFile(directory + "/" + page.fileName, Array(page.text.utf8), mode: 0o644)
        for verb in command.verbs { try write(verb, [], date) }
    }

    /// NAME, ERRORS and ENVIRONMENT have a meaning and a place of their own in manual pages.
    private static func title(of topic: HelpTopic) -> String {
        switch topic.name {
        case "names": "naming things"
        case "errors": "error codes"
        case "environment": "environment variables"
        default: topic.name.replacing("-", with: " ")
        }
    }

    /// Of the release, so that the same release has the same pages.
    private static func date() throws -> String {
        let epoch = try SourceDateEpoch.fromEnvironment().map { Int64($0) } ?? Int64(Date().timeIntervalSince1970)
        var seconds = time_t(epoch)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        let months = [
            "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
            "November", "December",
        ]
        return "\(months[Int(min(max(parts.tm_mon, 0), 11))]) \(parts.tm_mday), \(Int(parts.tm_year) + 1900)"
    }

    private func readInput() throws -> Data {
        var all = Data()
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while all.count <= Self.largest {
            let count = read(0, &buffer, buffer.count)
            if count == 0 { return all }
            guard count > 0 else { throw SnapshotError(.failed, "standard input: \(String(cString: strerror(errno)))") }
            all.append(contentsOf: buffer[..<count])
        }
        throw SnapshotError(.usage, "standard input is no description of a program")
    }
}
