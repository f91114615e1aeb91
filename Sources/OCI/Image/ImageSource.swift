/// Where an image comes from: one repository of a registry, one layout directory, or one archive.
///
/// A source is bound to the place it was made for (see ``ImageSources/source(for:)``).
package protocol ImageSource: Sendable {
    /// Reads and verifies index, manifest and config, and chooses the platform.
    ///
    /// - Parameter reference: of the repository, directory or archive that the source was made for; else `invalidReference`.
    func resolve(_ reference: ImageReference, platform: Platform) async throws(OCIError) -> ResolvedImage

    /// Starts to transfer a layer. The call itself does not block; reading does.
    ///
    /// A layer of an archive of `docker save` has no digest as it is stored: of what is read only the size is proven
    /// here, and the diffID must prove the rest.
    func openLayer(_ layer: Descriptor) throws(OCIError) -> any BlobReader
}
