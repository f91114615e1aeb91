import Glibc

/// The date that `SOURCE_DATE_EPOCH` asks for (reproducible-builds.org), in seconds since 1970.
package enum SourceDateEpoch {
    package static let variable = "SOURCE_DATE_EPOCH"

    /// In April 2310: e2fsck takes what comes next for dates before 1970 that an old kernel wrote wrongly.
    package static let latest: Int64 = 10_737_418_239

    /// The variable's text is no such date.
    package struct Invalid: Error {
        package let message =
            "\(variable) in the environment must be a number of seconds since 1970, at most \(latest), or not be set"
    }

    /// What the environment of this process asks for; nil where it asks for nothing.
    package static func fromEnvironment() throws(Invalid) -> Int64? {
        try parse(getenv(variable).map { String(cString: $0) })
    }

    /// Nil where the variable is not set, or empty.
    package static func parse(_ text: String?) throws(Invalid) -> Int64? {
        guard let text, !text.isEmpty else { return nil }
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let seconds = Int64(text), seconds <= latest else {
            throw Invalid()
        }
        return seconds
    }
}
