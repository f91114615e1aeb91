package import HelperInterface

/// What went wrong with a snapshot as an artifact, in words that a person can act on. What a registry or a file failed
/// with passes as it is (`OCIError`, `FileError`).
package struct ArtifactError: Error, Sendable, CustomStringConvertible {
    package enum Code: String, Sendable {
        /// The reference names an image or something else, and no snapshot.
        case notASnapshot = "not-a-snapshot"
        /// The documents contradict the format, or each other.
        case invalidArtifact = "invalid-artifact"
        /// Bytes that came are not those that the documents state.
        case damaged
        /// The file to push is not the one that its result document describes.
        case changed
        /// The document beside the image is missing or cannot be read.
        case noResult = "no-result"
        /// More than the format or a registry can hold.
        case tooLarge = "too-large"
        case noMatchingPlatform = "no-matching-platform"
        case usage
        /// The system has no memory left.
        case resources
    }

    package let code: Code
    package let message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }

    package var exitStatus: ExitStatus {
        switch code {
        case .notASnapshot, .invalidArtifact, .damaged, .changed, .tooLarge: .badImage
        case .noResult, .noMatchingPlatform: .notFound
        case .usage: .usage
        case .resources: .failed
        }
    }
}

/// Foreign text made fit for a message: without control characters, cut short.
func shown(_ text: String) -> String {
    let kept = text.unicodeScalars.prefix(200).map { $0.properties.generalCategory == .control ? " " : $0 }
    var result = String.UnicodeScalarView()
    result.append(contentsOf: kept)
    return String(result)
}
