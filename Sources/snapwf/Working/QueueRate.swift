import ArgumentParser
import Workflow

/// `--rate`: so many in a span, as `10/1m` or `10/m`.
struct QueueRate: ExpressibleByArgument {
    let rate: QueueConfiguration.Rate

    init?(argument: String) {
        let parts = argument.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, !parts[1].isEmpty, parts[0].allSatisfy(\.isASCII), let number = Int(parts[0]),
            (1...1_000_000).contains(number), let span = Span(argument: parts[1]) ?? Span(argument: "1" + parts[1]),
            span.seconds > 0
        else { return nil }
        rate = QueueConfiguration.Rate(starts: number, per: .seconds(span.seconds))
    }
}
