/// The name of an image as people write it, with everything that is usually left out filled in.
///
/// `description` is the full name and parses back to the same value:
/// `docker.io/library/alpine:latest`, `ghcr.io/acme/app:1.2@sha256:…`, `oci:/images/app:1.2`,
/// `docker-archive:app.tar:acme/app:1.2`, `-`.
package struct ImageReference: Hashable, Sendable, CustomStringConvertible {
    package enum Transport: Hashable, Sendable {
        /// A registry that speaks the OCI distribution specification. `host` may carry a port. At least one of tag
        /// and digest is there; when both are, the digest decides and the tag is for people.
        case registry(host: String, repository: String, tag: String?, digest: Digest?)
        /// An OCI image layout directory. Without tag and digest it must hold exactly one image.
        case layout(directory: String, tag: String?, digest: Digest?)
        /// A tar archive. `tag` is a whole name (`acme/app:1.2`) where the format is Docker's. Without tag and digest it
        /// must hold exactly one image.
        case archive(ArchiveFormat, file: String, tag: String?, digest: Digest?)
        /// A tar archive of either format on standard input, with exactly one image. It can be read once.
        case standardInput
    }

    /// What an archive is written by.
    package enum ArchiveFormat: String, Hashable, Sendable {
        /// An OCI image layout, as it stands in a directory.
        case oci = "oci-archive"
        /// What `docker save` writes.
        case docker = "docker-archive"
    }

    package let transport: Transport

    init(_ transport: Transport) { self.transport = transport }

    /// The same image, but exactly these bytes: whatever the tag moves to later. A tag stays for people to read.
    package func pinned(to digest: Digest) -> ImageReference {
        switch transport {
        case .registry(let host, let repository, let tag, _):
            ImageReference(.registry(host: host, repository: repository, tag: tag, digest: digest))
        case .layout(let directory, let tag, _):
            ImageReference(.layout(directory: directory, tag: tag, digest: digest))
        case .archive(let format, let file, let tag, _):
            ImageReference(.archive(format, file: file, tag: tag, digest: digest))
        case .standardInput:
            self
        }
    }

    /// The registry's host with its port, nil for a layout or an archive. Docker Hub is `docker.io`.
    package var registryHost: String? {
        guard case .registry(let host, _, _, _) = transport else { return nil }
        return host
    }

    /// The digest that the reference is pinned to, when it is.
    package var digest: Digest? {
        switch transport {
        case .registry(_, _, _, let digest), .layout(_, _, let digest), .archive(_, _, _, let digest): digest
        case .standardInput: nil
        }
    }

    /// The tag, when there is one.
    package var tag: String? {
        switch transport {
        case .registry(_, _, let tag, _), .layout(_, let tag, _), .archive(_, _, let tag, _): tag
        case .standardInput: nil
        }
    }

    package var description: String {
        switch transport {
        case .registry(let host, let repository, let tag, let digest):
            let name = "\(host)/\(repository)" + Self.suffix(tag: tag, digest: digest)
            // A host such as oci:5000 would read as a transport.
            return Self.transportPrefix(of: name) == nil ? name : "docker://\(name)"
        case .layout(let directory, let tag, let digest):
            return "oci:\(directory)" + Self.suffix(tag: tag, digest: digest)
        case .archive(let format, let file, let tag, let digest):
            return "\(format.rawValue):\(file)" + Self.suffix(tag: tag, digest: digest)
        case .standardInput:
            return "-"
        }
    }

    private static func suffix(tag: String?, digest: Digest?) -> String {
        (tag.map { ":\($0)" } ?? "") + (digest.map { "@\($0)" } ?? "")
    }
}

extension ImageReference: Codable {
    /// As a string: its `description`.
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        do {
            try self.init(parsing: text)
        } catch {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: error.message)
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
