import Foundation

/// A figure beside that of its peer.
struct Figure: Encodable {
    /// Where less is better, a ratio below 1 is good; where more is better, one above 1 is.
    enum Better: String, Encodable {
        case more
        case less
    }

    let name: String
    let unit: String
    let value: Double
    let peer: String
    let peerValue: Double
    let better: Better
    /// All measured values, for the spread.
    let samples: [Double]
    let peerSamples: [Double]
    /// `nil` where the peer's figure is too small to divide by.
    let ratio: Double?

    init(
        _ name: String, unit: String, better: Better, samples: [Double], peer: String, peerSamples: [Double]
    ) {
        self.name = name
        self.unit = unit
        self.better = better
        self.samples = samples
        self.peer = peer
        self.peerSamples = peerSamples
        value = samples.median
        peerValue = peerSamples.median
        ratio = peerSamples.median > 1e-9 ? samples.median / peerSamples.median : nil
    }
}

/// Everything that one call of the program measured.
struct Report: Encodable {
    var figures: [Figure] = []
    let finishedRuns: Int
    let steps: Int
    let runs: Int
    let rounds: Int
    let directory: String
    let sqlite: String
    /// The version of the server, if one was measured.
    var postgres: String?
    let processors: Int

    init(options: Options, directory: String) {
        finishedRuns = options.finishedRuns
        steps = options.steps
        runs = options.runs
        rounds = options.rounds
        self.directory = directory
        sqlite = PlainSQLite.version
        processors = ProcessInfo.processInfo.activeProcessorCount
    }

    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
    }

    var text: String {
        let server = postgres.map { "PostgreSQL \($0), " } ?? ""
        var lines = ["SQLite \(sqlite), \(server)\(processors) processors, \(rounds) rounds, in \(directory)"]
        for figure in figures {
            let ratio = figure.ratio.map { String(format: "%.2f×", $0) } ?? "–"
            lines.append("")
            lines.append(figure.name)
            lines.append("  engine  \(Self.show(figure.value)) \(figure.unit)\(Self.spread(figure.samples))")
            lines.append(
                "  peer    \(Self.show(figure.peerValue)) \(figure.unit)\(Self.spread(figure.peerSamples))"
                    + "  (\(figure.peer))")
            lines.append("  ratio   \(ratio) (\(figure.better.rawValue) is better)")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func show(_ value: Double) -> String {
        let digits = value >= 100 ? 0 : value >= 1 ? 2 : 4
        return String(format: "%.\(digits)f", value)
    }

    private static func spread(_ samples: [Double]) -> String {
        guard samples.count > 1, let least = samples.min(), let most = samples.max() else { return "" }
        return " [\(show(least))…\(show(most))]"
    }
}

extension [Double] {
    /// The middle of the sorted values; 0 if there are none.
    var median: Double {
        guard !isEmpty else { return 0 }
        let sorted = sorted()
        let middle = count / 2
        return count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}
