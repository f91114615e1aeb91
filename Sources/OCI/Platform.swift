/// An operating system and processor, as `linux/amd64` or `linux/arm64/v8`.
///
/// Values are normalised on the way in as container runtimes do: `x86_64` is `amd64`, `aarch64` is `arm64`, and the
/// variants that mean nothing (`amd64/v1`, `arm64/v8`) are kept as written but match their plain form.
package struct Platform: Hashable, Sendable, CustomStringConvertible {
    package let os: String
    package let architecture: String
    package let variant: String?

    package init(os: String, architecture: String, variant: String? = nil) {
        self.os = os.lowercased()
        let variant = variant.flatMap { $0.isEmpty ? nil : $0.lowercased() }
        switch architecture.lowercased() {
        case "x86_64", "x86-64":
            self.architecture = "amd64"
            self.variant = variant
        case "aarch64":
            self.architecture = "arm64"
            self.variant = variant
        case "i386", "i686":
            self.architecture = "386"
            self.variant = variant
        case "armhf":
            self.architecture = "arm"
            self.variant = variant ?? "v7"
        case "armel":
            self.architecture = "arm"
            self.variant = variant ?? "v6"
        case let other:
            self.architecture = other
            self.variant = variant
        }
    }

    /// Parses `os/architecture` or `os/architecture/variant`.
    package init(parsing text: String) throws(OCIError) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        let isPlain = parts.allSatisfy { part in
            !part.isEmpty
                && part.utf8.allSatisfy { byte in
                    (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
                        || byte == 0x2d || byte == 0x2e || byte == 0x5f
                }
        }
        guard isPlain, parts.count == 2 || parts.count == 3 else {
            throw OCIError(
                .invalidReference,
                "\(excerpt(text)) is no platform: write os/architecture[/variant], as linux/amd64 or linux/arm64/v8")
        }
        self.init(
            os: String(parts[0]), architecture: String(parts[1]), variant: parts.count == 3 ? String(parts[2]) : nil)
    }

    package var description: String {
        variant.map { "\(os)/\(architecture)/\($0)" } ?? "\(os)/\(architecture)"
    }

    /// Linux on the processor this program was built for.
    package static var host: Platform {
        #if arch(x86_64)
            Platform(os: "linux", architecture: "amd64")
        #elseif arch(arm64)
            Platform(os: "linux", architecture: "arm64")
        #else
            #error("the name of this architecture in OCI platforms is not known")
        #endif
    }

    /// How well an image for `offer` runs where `self` is asked for: 0 is exact, larger is worse, nil not at all.
    ///
    /// Variants grow upwards: a machine that runs `arm/v7` runs `v6` too, but never the other way round. A missing
    /// variant means v7 for arm, v8 for arm64, v1 for amd64, as everywhere in the container world.
    package func distance(toOffer offer: Platform) -> Int? {
        guard os == offer.os, architecture == offer.architecture else { return nil }
        if variant == offer.variant { return 0 }
        guard let asked = effectiveLevel, let offered = offer.effectiveLevel, offered <= asked else { return nil }
        return asked - offered
    }

    private var effectiveLevel: Int? {
        let byDefault: Int
        switch architecture {
        case "arm": byDefault = 7
        case "arm64": byDefault = 8
        case "amd64": byDefault = 1
        default: return nil
        }
        guard let variant else { return byDefault }
        guard variant.hasPrefix("v"), let level = Int(variant.dropFirst()), (1...64).contains(level) else { return nil }
        return level
    }
}

extension Platform: Codable {
    private enum CodingKeys: String, CodingKey {
        case os
        case architecture
        case variant
    }

    /// Lenient: an index may leave fields out, and such an entry must not make its neighbours unreadable.
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            os: try container.decodeIfPresent(String.self, forKey: .os) ?? "unknown",
            architecture: try container.decodeIfPresent(String.self, forKey: .architecture) ?? "unknown",
            variant: try container.decodeIfPresent(String.self, forKey: .variant))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(os, forKey: .os)
        try container.encode(architecture, forKey: .architecture)
        try container.encodeIfPresent(variant, forKey: .variant)
    }
}
