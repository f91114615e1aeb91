import FoundationEssentials
import Glibc

/// A span for people: `0.4 s`, `12.3 s`, `4 min 05 s`, `2 h 10 min`, `3 d 4 h`.
func spanText(_ seconds: Double) -> String {
    let tenths = Int((min(max(seconds, 0), 1e12) * 10).rounded())
    if tenths < 600 { return "\(tenths / 10).\(tenths % 10) s" }
    let whole = tenths / 10
    if whole < 3600 { return "\(whole / 60) min \(twoDigits(whole % 60)) s" }
    if whole < 86_400 { return "\(whole / 3600) h \(twoDigits(whole % 3600 / 60)) min" }
    return "\(whole / 86_400) d \(whole % 86_400 / 3600) h"
}

func spanText(_ span: Duration) -> String { spanText(span / .seconds(1)) }

/// How long ago something was, as people say it: `now`, `12 s ago`, `3 min ago`, `5 h ago`, `2 d ago`, `14 weeks ago`.
func ageText(_ seconds: Double) -> String {
    let whole = Int(min(max(seconds, 0), 1e12))
    switch whole {
    case 0: return "now"
    case ..<60: return "\(whole) s ago"
    case ..<3600: return "\(whole / 60) min ago"
    case ..<86_400: return "\(whole / 3600) h ago"
    case ..<(86_400 * 60): return "\(whole / 86_400) d ago"
    default: return "\(whole / (86_400 * 7)) weeks ago"
    }
}

/// A moment by this machine's clock and time zone, to the second or the millisecond: `2026-11-28 07:24:28`.
func localTime(_ date: Date, milliseconds: Bool = false) -> String {
    let since = min(max(date.timeIntervalSince1970, 0), 253_402_300_799)
    var seconds = time_t(since)
    var parts = tm()
    guard localtime_r(&seconds, &parts) != nil else { return "?" }
    let day = "\(Int(parts.tm_year) + 1900)-\(twoDigits(Int(parts.tm_mon) + 1))-\(twoDigits(Int(parts.tm_mday)))"
    let clock = [parts.tm_hour, parts.tm_min, parts.tm_sec].map { twoDigits(Int($0)) }.joined(separator: ":")
    guard milliseconds else { return "\(day) \(clock)" }
    let fraction = Int((since - since.rounded(.down)) * 1000)
    return "\(day) \(clock)." + String(repeating: "0", count: 3 - "\(fraction)".count) + "\(fraction)"
}

private func twoDigits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
