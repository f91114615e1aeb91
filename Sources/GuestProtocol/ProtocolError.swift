/// Why bytes are no message, or a message cannot become bytes.
package struct ProtocolError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Code: Hashable, Sendable {
        /// A kind of message that this version does not know.
        case unknownKind
        /// A known kind whose payload is not what it has to be.
        case malformed
        /// More than ``Frame/maximumPayload`` bytes.
        case tooLarge
    }

    package var code: Code
    package var message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }
}
