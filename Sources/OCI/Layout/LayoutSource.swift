internal import Logging

/// Images in an OCI image layout directory.
struct LayoutSource: ImageSource {
    private let directory: LayoutDirectory
    private let images: LayoutImages

    init(directory: String, limits: DocumentLimits = .init(), logger: Logger) {
        self.directory = LayoutDirectory(path: directory)
        images = LayoutImages(files: self.directory, limits: limits, form: "oci:DIR:tag", logger: logger)
    }

    func resolve(_ reference: ImageReference, platform: Platform) async throws(OCIError) -> ResolvedImage {
        guard case .layout(let path, let tag, let digest) = reference.transport, path == directory.path else {
            throw OCIError(.invalidReference, "\(reference) is not in the OCI layout \(directory.shown)")
        }
        return try await images.resolve(reference, names: tag.map { [$0] }, digest: digest, platform: platform)
    }

    func openLayer(_ layer: Descriptor) throws(OCIError) -> any BlobReader {
        try images.openLayer(layer)
    }
}
