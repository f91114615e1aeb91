import Glibc

/// A moment on the wall clock, in milliseconds since 1970-01-01 UTC.
///
/// For records and for people. Deadlines inside the module use clocks that nobody can set.
package struct UnixTime: Codable, Comparable, Hashable, Sendable {
    package var milliseconds: Int64

    package init(milliseconds: Int64) {
        self.milliseconds = milliseconds
    }

    /// The wall clock's time now.
    package static func now() -> UnixTime {
        var time = timespec()
        // Cannot fail: the clock exists on every Linux and the pointer is valid (clock_gettime(2)).
        _ = clock_gettime(CLOCK_REALTIME, &time)
        return UnixTime(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }

    package static func < (left: UnixTime, right: UnixTime) -> Bool {
        left.milliseconds < right.milliseconds
    }

    /// This moment moved by a duration; stops at the ends of the range.
    package func advanced(by duration: Duration) -> UnixTime {
        let (sum, overflow) = milliseconds.addingReportingOverflow(duration.wholeMilliseconds)
        guard overflow else { return UnixTime(milliseconds: sum) }
        return UnixTime(milliseconds: duration < .zero ? .min : .max)
    }
}

extension Duration {
    /// Whole milliseconds, rounded down; stops at the ends of `Int64`.
    package var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        let (sum, carry) = product.addingReportingOverflow(attoseconds / 1_000_000_000_000_000)
        guard overflow || carry else { return sum }
        return seconds < 0 ? .min : .max
    }
}
