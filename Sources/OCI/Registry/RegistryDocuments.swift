internal import NIOHTTP1

/// Manifests and configs of a repository, verified.
struct RegistryDocuments: DocumentStore {
    private static let manifestTypes: [MediaType] = [
        .ociIndex, .ociManifest, .dockerIndex, .dockerManifest, .dockerSchema1Signed, .dockerSchema1,
    ]

    let repository: RegistryRepository

    func manifest(_ descriptor: Descriptor) async throws(OCIError) -> ManifestDocument {
        let document = try await manifest(.digest(descriptor.digest))
        guard Int64(document.bytes.count) == descriptor.size else {
            throw OCIError(
                .sizeMismatch,
                "manifest \(descriptor.digest) of \(repository.name) has \(document.bytes.count) bytes; "
                    + "its descriptor states \(descriptor.size)")
        }
        return ManifestDocument(bytes: document.bytes, digest: document.digest, declaredType: descriptor.mediaType)
    }

    /// How a manifest is asked for.
    enum Selector {
        case tag(String)
        case digest(Digest)

        var text: String {
            switch self {
            case .tag(let tag): tag
            case .digest(let digest): digest.description
            }
        }
    }

    func manifest(_ selector: Selector) async throws(OCIError) -> ManifestDocument {
        let what = "manifest \(selector.text) of \(repository.name)"
        var accept = HTTPHeaders()
        accept.add(name: "accept", value: Self.manifestTypes.map(\.rawValue).joined(separator: ", "))
        let headers = accept
        let repository = repository
        let limit = repository.options.documents.manifestBytes
        let (bytes, type, stated) = try await repository.retrying(what, limit: .manifestBytes) {
            () async throws(RequestFailure) in
            try await withDeadline(repository.options.timeouts.document, what) {
                () async throws(RequestFailure) -> ([UInt8], MediaType?, String?) in
                let answer = try await repository.get("manifests/\(selector.text)", headers: headers, what: what) {
                    manifestFailure($0, selector, what)
                }
                let bytes = try await answer.document(limit: limit, what: what)
                let headers = answer.response.headers
                return (
                    bytes, headers.first(name: "content-type").flatMap { MediaType(header: $0) },
                    headers.first(name: "docker-content-digest")
                )
            }
        }
        switch selector {
        case .digest(let digest):
            let found = Digest.of(bytes, algorithm: digest.algorithm)
            guard found == digest else {
                throw OCIError(.digestMismatch, "\(what) is damaged: its bytes have the digest \(found)")
            }
            return ManifestDocument(bytes: bytes, digest: digest, declaredType: type)
        case .tag:
            let found = Digest.sha256(of: bytes)
            if let stated, stated != found.description {
                try check(bytes, hasDigest: stated, what)
            }
            return ManifestDocument(bytes: bytes, digest: found, declaredType: type)
        }
    }

    /// - Parameter stated: the header `Docker-Content-Digest`, which may use another algorithm.
    private func check(_ bytes: [UInt8], hasDigest stated: String, _ what: String) throws(OCIError) {
        let digest: Digest
        do {
            digest = try Digest(parsing: stated)
        } catch {
            throw OCIError(.invalidResponse, "\(what): the header Docker-Content-Digest is unusable: \(error.message)")
        }
        let found = Digest.of(bytes, algorithm: digest.algorithm)
        guard found == digest else {
            throw OCIError(.digestMismatch, "\(what) is damaged: it was announced as \(digest), but is \(found)")
        }
    }

    func config(_ descriptor: Descriptor) async throws(OCIError) -> [UInt8] {
        let what = "config \(descriptor.digest) of \(repository.name)"
        let limit = repository.options.documents.configBytes
        guard descriptor.size <= Int64(limit) else {
            throw OCIError(.tooLarge, "\(what) has \(descriptor.size) bytes; at most \(limit) are read")
                .exceeding(.configBytes)
        }
        let repository = repository
        let bytes = try await repository.retrying(what, limit: .configBytes) { () async throws(RequestFailure) in
            try await withDeadline(repository.options.timeouts.document, what) {
                () async throws(RequestFailure) -> [UInt8] in
                let answer = try await repository.get("blobs/\(descriptor.digest)", what: what) {
                    $0.failure(what, host: repository.host)
                }
                return try await answer.document(limit: limit, what: what)
            }
        }
        try BlobVerifier.verify(bytes, descriptor, name: what)
        return bytes
    }

    private func manifestFailure(_ answer: RegistryAnswer, _ selector: Selector, _ what: String) -> RequestFailure {
        guard answer.status == 404 else { return answer.failure(what, host: repository.host) }
        let name = repository.name
        if answer.code == "NAME_UNKNOWN" {
            return RequestFailure(
                .notFound,
                "there is no repository \(repository.repository) in \(repository.host): check the name\(answer.ownWords)"
            )
        }
        switch selector {
        case .tag(let tag):
            return RequestFailure(
                .notFound,
                "no tag \(tag) in \(name); list the tags with: skopeo list-tags docker://\(name)\(answer.ownWords)")
        case .digest(let digest):
            return RequestFailure(
                .notFound, "no manifest \(digest) in \(name): it may have been deleted\(answer.ownWords)")
        }
    }
}
