import ArgumentParser
import HelperInterface
import SnapshotSteps

/// What every verb understands.
struct GlobalOptions: ParsableArguments {
    @Flag(help: "Print one JSON document on standard output.")
    var json = false

    @Flag(name: .shortAndLong, help: "Print only the snapshot's id (or, with --output, its path).")
    var quiet = false

    @Flag(name: .shortAndLong, help: "Say more on standard error.")
    var verbose = false

    @Option(help: "Colours: auto (on a terminal, unless NO_COLOR is set), always or never.")
    var color: ColorMode = .auto

    func validate() throws {
        guard !(json && quiet) else { throw ValidationError("--json and --quiet exclude each other.") }
    }
}

extension ColorMode: ExpressibleByArgument {}

/// How progress is told on standard error.
enum ProgressMode: String, ExpressibleByArgument, CaseIterable { case auto, tty, plain, json, none }

/// The number of bytes that a flag's value says; nil for none.
func byteCount(_ text: String?, _ flag: String) throws -> UInt64? {
    guard let text else { return nil }
    guard let bytes = parseByteCount(text) else {
        throw SnapshotError(.usage, "\(flag) \(text) is no number of bytes: write 512MiB, 10GiB, 1073741824")
    }
    return bytes
}
