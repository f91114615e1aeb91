import ArgumentParser
import Files
import Glibc
import HelperInterface
import RootFS

/// The helper that works inside the sandbox (`snapshot pull <image> --output <file.ext4>`), and the tool that looks into
/// what it made.
@main
struct SnapshotTool: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot",
        abstract: "Turns an OCI image into a bootable ext4 image: no root, no mount, no temporary tree.",
        version: """
            snapshot \(Version.text) (output format \(SnapshotKey.formatVersion))
            gzip: \(GzipDecoder.fastest.library)
            """,
        subcommands: [
            PullCommand.self, PushCommand.self, DownloadCommand.self, InspectCommand.self, LsCommand.self,
            CatCommand.self, DiffCommand.self,
            VerifyCommand.self,
        ])

    static func main() async {
        reserveStandardStreams()
        // A reader that went away must end the pull by an error, not by a signal that skips the clean-up.
        signal(SIGPIPE, SIG_IGN)
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch let error as Reported {
            Glibc.exit(error.status.rawValue)
        } catch {
            exit(withError: error)
        }
    }
}
