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

/// A span of time as people write it: `90s`, `15m`, `2h`, `7d`, `0`.
struct Span: ExpressibleByArgument {
    let seconds: Int

    init(seconds: Int) { self.seconds = seconds }

    init?(argument: String) {
        let units: [Character: Int] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        var digits = Substring(argument)
        var factor = 1
        if let last = argument.last, let unit = units[last] {
            factor = unit
            digits = digits.dropLast()
        }
        guard !digits.isEmpty, digits.allSatisfy(\.isASCII), let number = Int(digits), number >= 0 else { return nil }
        let (seconds, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow, seconds <= 10 * 366 * 86_400 else { return nil }
        self.seconds = seconds
    }

    var defaultValueDescription: String {
        seconds % 60 == 0 ? "\(seconds / 60)m" : "\(seconds)s"
    }
}

/// The number of bytes that a flag's value says; nil for none.
func byteCount(_ text: String?, _ flag: String) throws -> UInt64? {
    guard let text else { return nil }
    guard let bytes = parseByteCount(text) else {
        throw SnapshotError(.usage, "\(flag) \(text) is no number of bytes: write 512MiB, 10GiB, 1073741824")
    }
    return bytes
}
