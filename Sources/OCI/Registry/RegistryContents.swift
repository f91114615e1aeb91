/// One repository as it is: documents of any kind, verified against their digests and nothing more.
package struct RegistryContents: Sendable {
    /// A manifest or an index, with what points to it.
    package struct Document: Sendable {
        package let descriptor: Descriptor
        package let bytes: [UInt8]
    }

    let repository: RegistryRepository

    /// `registry.example/acme/app`.
    package var name: String { repository.name }

    /// What a reference of this repository names, by its digest when it has one, else by its tag.
    package func document(_ reference: ImageReference) async throws(OCIError) -> Document {
        let selector: RegistryDocuments.Selector =
            reference.digest.map { .digest($0) } ?? .tag(reference.tag ?? "latest")
        return Self.document(try await RegistryDocuments(repository: repository).manifest(selector))
    }

    /// What a descriptor points to, of its digest and size.
    package func document(_ descriptor: Descriptor) async throws(OCIError) -> Document {
        Self.document(try await RegistryDocuments(repository: repository).manifest(descriptor))
    }

    /// A small blob, verified; at most as many bytes as an image's config may have.
    package func config(_ descriptor: Descriptor) async throws(OCIError) -> [UInt8] {
        try await RegistryDocuments(repository: repository).config(descriptor)
    }

    private static func document(_ found: ManifestDocument) -> Document {
        Document(descriptor: found.descriptor, bytes: found.bytes)
    }
}
