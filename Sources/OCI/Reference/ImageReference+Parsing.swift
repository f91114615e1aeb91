extension ImageReference {
    /// Parses a reference with an optional transport: `docker://` (also meant when there is none), `oci:`,
    /// `oci-archive:` or `docker-archive:`; or `-`.
    ///
    /// Grammar and defaults as in the reference package of the distribution project: a first component without a dot,
    /// a port and other than `localhost` is no host; no host means Docker Hub, where a single name stands below
    /// `library/`; neither tag nor digest means `latest`.
    package init(parsing text: String) throws(OCIError) {
        guard !text.isEmpty else {
            throw OCIError(.invalidReference, "the image reference is empty: write for example alpine:3.20")
        }
        guard text.utf8.count <= 4096, !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) else {
            throw OCIError(
                .invalidReference, "\(excerpt(text)) is no image reference: it is too long or has control characters")
        }
        if text == "-" {
            self.init(.standardInput)
            return
        }
        let shown = Self.withoutPassword(text)
        switch Self.transportPrefix(of: text) {
        case nil:
            try self.init(registryName: text[...], whole: shown)
        case "docker://":
            try self.init(registryName: text.dropFirst("docker://".count), whole: shown)
        case "oci:":
            let (directory, tag, digest) = try Self.localName(
                text.dropFirst("oci:".count), whole: shown, usage: "oci:DIR, oci:DIR:tag or oci:DIR@digest")
            self.init(.layout(directory: directory, tag: tag, digest: digest))
        case "oci-archive:":
            let (file, tag, digest) = try Self.localName(
                text.dropFirst("oci-archive:".count), whole: shown, usage: "oci-archive:FILE or oci-archive:FILE:tag")
            self.init(.archive(.oci, file: file, tag: tag, digest: digest))
        case "docker-archive:":
            let (file, tag, digest) = try Self.localName(
                text.dropFirst("docker-archive:".count), whole: shown,
                usage: "docker-archive:FILE or docker-archive:FILE:name:tag")
            self.init(.archive(.docker, file: file, tag: tag, digest: digest))
        case let other?:
            let scheme = other.hasPrefix("http")
            throw OCIError(
                .invalidReference,
                scheme
                    ? "\(excerpt(shown)) is a URL: write the image without \(other), as ghcr.io/acme/app:1.2"
                    : "the transport \(other) is not supported: use docker://, oci:DIR, oci-archive:FILE or "
                        + "docker-archive:FILE (skopeo copy \(printable(shown)) oci:DIR:TAG makes the second)")
        }
    }

    /// For messages: a `user:password@` that somebody wrote out of habit is left out.
    private static func withoutPassword(_ text: String) -> String {
        guard let at = text.lastIndex(of: "@"), !text[at...].hasPrefix("@sha") else { return text }
        let afterScheme = text.firstIndex(of: "/").map { text.index($0, offsetBy: 2, limitedBy: text.endIndex) } ?? nil
        let start = text.contains("://") ? afterScheme ?? text.startIndex : text.startIndex
        guard start < at, text[start..<at].contains(":") else { return text }
        return "\(text[..<start])…\(text[at...])"
    }

    /// The transport that `text` begins with, as it is written; nil when there is none.
    static func transportPrefix(of text: String) -> String? {
        let known = [
            "docker://", "oci:", "oci-archive:", "docker-archive:", "docker-daemon:", "dir:", "containers-storage:",
            "https://", "http://",
        ]
        return known.first { text.hasPrefix($0) }
    }

    // MARK: Registry

    private init(registryName name: Substring, whole: String) throws(OCIError) {
        func invalid(_ why: String) -> OCIError {
            OCIError(.invalidReference, "\(excerpt(whole)) is no image reference: \(why)")
        }

        var rest = name
        var digest: Digest?
        if let at = rest.firstIndex(of: "@") {
            do {
                digest = try Digest(parsing: String(rest[rest.index(after: at)...]))
            } catch {
                throw invalid("after '@' comes a digest: sha256:<64 hex digits>, sha512:<128 hex digits>")
            }
            rest = rest[..<at]
        }
        var tag: String?
        let afterSlash = rest.lastIndex(of: "/").map { rest.index(after: $0) } ?? rest.startIndex
        if let colon = rest[afterSlash...].firstIndex(of: ":") {
            let found = rest[rest.index(after: colon)...]
            guard Self.isTag(found) else {
                throw invalid(
                    "the tag \(excerpt(found)) must be 1 to 128 letters, digits, '_', '.' or '-', "
                        + "and begin with none of '.' and '-'")
            }
            tag = String(found)
            rest = rest[..<colon]
        }

        var (host, repository) = Self.splitHost(rest)
        guard Self.isHost(host) else { throw invalid("\(excerpt(host)) is no host name") }
        if host == "index.docker.io" { host = "docker.io" }
        if host == "docker.io", !repository.isEmpty, !repository.contains("/") { repository = "library/\(repository)" }
        if repository.contains(where: \.isUppercase) {
            throw invalid("repository names are lower case, as \(printable(repository.lowercased(), limit: 80))")
        }
        guard host.utf8.count + 1 + repository.utf8.count <= 255 else {
            throw invalid("a name has at most 255 characters")
        }
        guard repository.split(separator: "/", omittingEmptySubsequences: false).allSatisfy(Self.isPathComponent) else {
            throw invalid(
                "\(excerpt(repository)) must be lower case letters and digits, separated by '/', '.', '-', '_' or '__'")
        }
        if digest == nil, tag == nil {
            if rest.utf8.count == 64, rest.utf8.allSatisfy({ ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x61 && $0 <= 0x66) })
            {
                throw invalid("64 hex digits alone could be an image id: write name@sha256:\(rest)")
            }
            tag = "latest"
        }
        self.init(.registry(host: host, repository: repository, tag: tag, digest: digest))
    }

    private static func splitHost(_ name: Substring) -> (host: String, repository: String) {
        guard let slash = name.firstIndex(of: "/") else { return ("docker.io", String(name)) }
        let first = name[..<slash]
        guard first == "localhost" || first.contains(where: { $0 == "." || $0 == ":" }) else {
            return ("docker.io", String(name))
        }
        return (first.lowercased(), String(name[name.index(after: slash)...]))
    }

    private static func isTag(_ tag: Substring) -> Bool {
        guard let first = tag.utf8.first, tag.utf8.count <= 128 else { return false }
        return isWord(first) && tag.utf8.allSatisfy { isWord($0) || $0 == 0x2e || $0 == 0x2d }
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        isLetterOrDigit(byte) || byte == 0x5f
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
    }

    /// `[a-z0-9]+` runs, separated by one dot, one or two underscores, or any number of dashes.
    static func isPathComponent(_ component: Substring) -> Bool {
        var separator: [UInt8] = []
        var isFirst = true
        for byte in component.utf8 {
            if (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte) {
                if !separator.isEmpty, !isSeparator(separator) { return false }
                separator = []
                isFirst = false
            } else if isFirst {
                return false
            } else {
                separator.append(byte)
            }
        }
        return !isFirst && separator.isEmpty
    }

    private static func isSeparator(_ bytes: [UInt8]) -> Bool {
        bytes == [0x2e] || bytes == [0x5f] || bytes == [0x5f, 0x5f] || bytes.allSatisfy { $0 == 0x2d }
    }

    /// A DNS name, an IPv4 address or a bracketed IPv6 address, each with an optional port.
    static func isHost(_ host: String) -> Bool {
        var name = host[...]
        if name.first == "[" {
            guard let end = name.firstIndex(of: "]") else { return false }
            let address = name[name.index(after: name.startIndex)..<end]
            guard !address.isEmpty, address.utf8.allSatisfy({ isLetterOrDigit($0) || $0 == 0x3a || $0 == 0x2e }) else {
                return false
            }
            name = name[name.index(after: end)...]
            return name.isEmpty || (name.first == ":" && isPort(name.dropFirst()))
        }
        if let colon = name.firstIndex(of: ":") {
            guard isPort(name[name.index(after: colon)...]) else { return false }
            name = name[..<colon]
        }
        return name.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
            guard let first = label.utf8.first, let last = label.utf8.last else { return false }
            return isLetterOrDigit(first) && isLetterOrDigit(last)
                && label.utf8.allSatisfy { isLetterOrDigit($0) || $0 == 0x2d }
        }
    }

    private static func isPort(_ text: Substring) -> Bool {
        guard text.utf8.count <= 5, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return false }
        return UInt16(text).map { $0 > 0 } ?? false
    }

    // MARK: Layouts and archives

    /// `PATH[:tag][@digest]`: the path ends at the first colon, so it cannot contain one; tags of a layout may.
    private static func localName(
        _ name: Substring, whole: String, usage: String
    ) throws(OCIError) -> (path: String, tag: String?, digest: Digest?) {
        var rest = name
        var digest: Digest?
        if let at = rest.lastIndex(of: "@") {
            let after = rest[rest.index(after: at)...]
            if Digest.Algorithm.allCases.contains(where: { after.hasPrefix($0.rawValue + ":") }) {
                do {
                    digest = try Digest(parsing: String(after))
                } catch {
                    throw OCIError(.invalidReference, "\(excerpt(whole)) is no image reference: \(error.message)")
                }
                rest = rest[..<at]
            }
        }
        var tag: String?
        if let colon = rest.firstIndex(of: ":") {
            tag = String(rest[rest.index(after: colon)...])
            rest = rest[..<colon]
        }
        guard !rest.isEmpty, tag?.isEmpty != true else {
            throw OCIError(.invalidReference, "\(excerpt(whole)) is no image reference: write \(usage)")
        }
        return (String(rest), tag, digest)
    }
}
