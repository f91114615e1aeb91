extension String {
    /// The text with what would steer a terminal made visible: control characters other than the end of a line and the
    /// tab, and those that turn the direction of writing. Names of images and words of registries are anybody's.
    var printable: String {
        guard unicodeScalars.contains(where: \.steersTerminals) else { return self }
        var text = ""
        for scalar in unicodeScalars {
            if scalar.steersTerminals {
                text += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                text.unicodeScalars.append(scalar)
            }
        }
        return text
    }
}

extension Unicode.Scalar {
    fileprivate var steersTerminals: Bool {
        switch value {
        case 0x09, 0x0A: false
        // C0, DEL and C1 of ECMA-48; explicit directional formatting of UAX #9.
        case ..<0x20, 0x7F...0x9F, 0x202A...0x202E, 0x2066...0x2069: true
        default: false
        }
    }
}
