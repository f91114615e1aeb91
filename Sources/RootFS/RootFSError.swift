/// Why an image's layers could not be turned into a file system.
///
/// The message names the rule that was broken; `layer` and `entry` say where. Nothing is left in the target that a
/// caller may use: the image under construction is to be thrown away.
package struct RootFSError: Error, CustomStringConvertible, Sendable {
    package enum Code: Sendable, Equatable {
        /// The bytes of a layer could not be had.
        case source
        /// Corrupt, truncated or mislabelled compressed data.
        case compression
        /// A malformed or truncated tar archive.
        case archive
        /// A path that no file system may hold, or that points outside of the root.
        case name
        /// A hard link whose target is nowhere to be found, or cannot be linked to.
        case link
        /// More than the limits allow.
        case limit
        /// The decompressed layer is not the one that the image config names.
        case digest
        /// Something well-formed that has no meaning in a Linux file system.
        case unsupported
        /// The image, or the temporary file for hidden payloads, could not be written.
        case output
    }

    package var code: Code
    package var message: String
    /// The layer's name as the caller gave it.
    package var layer: String?
    /// The entry's path, printable.
    package var entry: String?
    package var cause: (any Error)?
    /// Which of the limits it is, where more than one of ``Limits`` allows was met.
    package private(set) var exceeded: Limits.Name?

    package init(
        _ code: Code, _ message: String, layer: String? = nil, entry: String? = nil, cause: (any Error)? = nil
    ) {
        self.code = code
        self.message = message
        self.layer = layer
        self.entry = entry
        self.cause = cause
    }

    /// More than a limit allows that the caller can raise.
    init(exceeding limit: Limits.Name, _ message: String) {
        self.init(.limit, message)
        exceeded = limit
    }

    package var description: String {
        var text = ""
        if let layer { text += "layer \(layer): " }
        if let entry { text += "entry \"\(entry)\": " }
        text += message
        if let cause { text += ": \(cause)" }
        return text
    }

    /// The same error with what an outer function knows and an inner one did not.
    func located(layer: String?, entry: String? = nil) -> RootFSError {
        var copy = self
        copy.layer = copy.layer ?? layer
        copy.entry = copy.entry ?? entry
        return copy
    }
}

/// Bytes of an archive as text that is safe to print: everything but printable ASCII and whole UTF-8 is escaped.
func printable(_ bytes: some Collection<UInt8>) -> String {
    let shown = 512
    var text = ""
    var decoder = UTF8()
    var iterator = bytes.prefix(shown).makeIterator()
    decoding: while true {
        switch decoder.decode(&iterator) {
        case .scalarValue(let scalar):
            if scalar.properties.generalCategory == .control || scalar == "\"" || scalar == "\\" {
                text += scalar.escaped(asASCII: true)
            } else {
                text.unicodeScalars.append(scalar)
            }
        case .error:
            text += "\u{FFFD}"
        case .emptyInput:
            break decoding
        }
    }
    return bytes.count > shown ? text + "…" : text
}
