internal import NIOHTTP1

/// One repository to push to (OCI distribution specification 1.1, "Push").
///
/// Everything may be repeated: what is there already is left as it is. After a failure or a death there are at worst
/// blobs that no manifest names, which the registry's own garbage collection removes.
package struct RegistryDestination: Sendable {
    let repository: RegistryRepository

    /// `registry.example/acme/app`.
    package var name: String { repository.name }

    /// What is there, to be read with the same credentials.
    package var contents: RegistryContents { RegistryContents(repository: repository) }

    /// Whether the repository has a blob of this digest.
    package func hasBlob(_ descriptor: Descriptor) async throws(OCIError) -> Bool {
        let what = "blob \(descriptor.digest.short) of \(name)"
        let repository = repository
        return try await repository.retrying(what) { () async throws(RequestFailure) in
            try await repository.hasBlob(descriptor.digest, what: what)
        }
    }

    /// Puts a manifest or an index under its digest and, with a tag, under that as well; its blobs have to be there.
    ///
    /// - Returns: whether the registry lists it as a referrer of its subject by itself.
    @discardableResult
    package func put(
        _ bytes: [UInt8], _ descriptor: Descriptor, tag: String? = nil
    ) async throws(OCIError) -> Bool {
        var listsReferrers = try await put(bytes, descriptor, as: descriptor.digest.description)
        if let tag {
            listsReferrers = try await put(bytes, descriptor, as: tag) || listsReferrers
        }
        return listsReferrers
    }

    private func put(_ bytes: [UInt8], _ descriptor: Descriptor, as selector: String) async throws(OCIError) -> Bool {
        let what = "manifest \(selector) of \(name)"
        let repository = repository
        return try await repository.retrying(what) { () async throws(RequestFailure) in
            var request = RegistryTransport.Request(
                method: .PUT, address: try repository.address("manifests/\(selector)"),
                headers: ["content-type": descriptor.mediaType.rawValue], body: bytes)
            request.isUpload = true
            let unsigned = request
            return try await withDeadline(repository.options.timeouts.document, what) {
                () async throws(RequestFailure) in
                let answer = try await repository.exchange(unsigned) { repository.pushFailure($0, what) }
                let stated = answer.response.headers.first(name: "docker-content-digest")
                if let stated, stated != descriptor.digest.description, stated.hasPrefix("sha256:") {
                    throw RequestFailure(
                        .digestMismatch,
                        "\(repository.host) keeps \(what) as \(printable(stated, limit: 100)), but its digest is "
                            + "\(descriptor.digest): it does not keep manifests as they are")
                }
                let subject = answer.response.headers.first(name: "oci-subject")
                await answer.discard(within: repository.options.timeouts.head)
                return subject != nil
            }
        }
    }

    /// Sends a blob unless it is there.
    ///
    /// - Parameters:
    ///   - location: where an upload that died stands, as `saved` was told; it goes on there.
    ///   - saved: told where the upload now stands, nil when nothing can go on any more. A location may hold a secret.
    ///   - sent: told how many bytes went out, those that were for nothing included.
    package func upload(
        _ bytes: [UInt8], _ descriptor: Descriptor, resuming location: String? = nil,
        saved: @escaping @Sendable (String?) -> Void = { _ in }, sent: @escaping @Sendable (Int) -> Void = { _ in }
    ) async throws(OCIError) {
        var upload = BlobUpload(bytes, descriptor, repository: repository, saved: saved, sent: sent)
        upload.resume(at: location)
        let first = upload
        do throws(RequestFailure) {
            try await withDeadline(repository.options.timeouts.blob, first.name) { () async throws(RequestFailure) in
                var upload = first
                try await upload.run()
            }
        } catch {
            throw error.error
        }
    }
}

extension RegistryRepository {
    /// One try of asking for a blob without its bytes.
    func hasBlob(_ digest: Digest, what: String) async throws(RequestFailure) -> Bool {
        let request = RegistryTransport.Request(method: .HEAD, address: try address("blobs/\(digest)"))
        do throws(RequestFailure) {
            let answer = try await exchange(request) { answer in
                var failure = pushFailure(answer, what)
                failure.status = answer.status
                return failure
            }
            await answer.discard(within: options.timeouts.head)
            return true
        } catch {
            guard error.status == 404 else { throw error }
            return false
        }
    }

    /// What an answer to a push means. Reading may be allowed where writing is not.
    func pushFailure(_ answer: RegistryAnswer, _ what: String) -> RequestFailure {
        guard answer.status == 403 || answer.code == "DENIED" else { return answer.failure(what, host: host) }
        return RequestFailure(
            .denied,
            "\(host) does not let these credentials push to \(repository): ask its owner, "
                + "or log in as another user with: docker login \(host)\(answer.ownWords)")
    }

    /// Repeats `attempt` as the policy allows, where no document's limit is concerned.
    func retrying<Value: Sendable>(
        _ what: String, _ attempt: () async throws(RequestFailure) -> Value
    ) async throws(OCIError) -> Value {
        try await retrying(what, limit: .manifestBytes, attempt)
    }
}

extension RegistryTransport.Answer {
    /// Reads a body that nobody needs, so that the connection can be used again.
    func discard(within limit: Duration) async {
        _ = await errorText(within: limit)
    }
}
