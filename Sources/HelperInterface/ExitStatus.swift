/// Exit codes, shared by the helper and by snapwf so that a code means the same thing wherever it is met.
package enum ExitStatus: Int32, Sendable, CaseIterable {
    case done = 0
    case failed = 1
    case inDoubt = 2
    case notFound = 3
    case credentials = 4
    case badImage = 5
    case unavailable = 6
    case usage = 64
    case interrupted = 75
    case forced = 130
}
