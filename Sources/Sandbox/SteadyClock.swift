import Glibc

/// Time since this machine booted, suspended time included; nobody can set it.
package enum SteadyClock {
    package static func now() -> Duration {
        .nanoseconds(nanoseconds())
    }

    static func nanoseconds() -> Int64 {
        var time = timespec()
        // Cannot fail: the clock exists since Linux 2.6.39 and the pointer is valid (clock_gettime(2)).
        _ = clock_gettime(CLOCK_BOOTTIME, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
