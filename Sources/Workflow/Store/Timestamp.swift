import Foundation

/// Whole milliseconds since 1970, as the store keeps times. Arithmetic stops at the ends of the range.
struct Timestamp: Hashable, Sendable, Comparable {
    let milliseconds: Int64

    init(milliseconds: Int64) {
        self.milliseconds = milliseconds
    }

    init(_ date: Date) {
        let value = (date.timeIntervalSince1970 * 1000).rounded()
        // 2^53 milliseconds are 285 000 years; beyond them a Double no longer counts single ones.
        let bound = 9_007_199_254_740_992.0
        milliseconds = value.isNaN ? 0 : Int64(min(max(value, -bound), bound))
    }

    var date: Date { Date(timeIntervalSince1970: Double(milliseconds) / 1000) }

    func advanced(by duration: Duration) -> Timestamp {
        let (sum, overflow) = milliseconds.addingReportingOverflow(duration.wholeMilliseconds)
        guard overflow else { return Timestamp(milliseconds: sum) }
        return Timestamp(milliseconds: duration < .zero ? .min : .max)
    }

    func duration(to other: Timestamp) -> Duration {
        let (difference, overflow) = other.milliseconds.subtractingReportingOverflow(milliseconds)
        guard overflow else { return .milliseconds(difference) }
        return .milliseconds(other < self ? Int64.min / 1000 : Int64.max / 1000)
    }

    static func < (left: Timestamp, right: Timestamp) -> Bool {
        left.milliseconds < right.milliseconds
    }
}

extension Duration {
    /// The duration in whole milliseconds, rounded down to them, held at the ends of the range.
    var wholeMilliseconds: Int64 { whole(perSecond: 1000) }

    /// The duration in whole nanoseconds, held at the ends of the range.
    var wholeNanoseconds: Int64 { whole(perSecond: 1_000_000_000) }

    private func whole(perSecond units: Int64) -> Int64 {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: units)
        guard !overflow else { return seconds < 0 ? .min : .max }
        let (sum, overflowed) = product.addingReportingOverflow(attoseconds / (1_000_000_000_000_000_000 / units))
        return overflowed ? (seconds < 0 ? .min : .max) : sum
    }
}
