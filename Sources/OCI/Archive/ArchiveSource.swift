internal import Files
internal import Logging
internal import Synchronization

/// The images of one tar archive: an OCI layout, what `docker save` writes, or both in one.
///
/// The archive is opened and indexed when it is first needed, once.
final class ArchiveSource: ImageSource {
    enum Input: Sendable {
        case file(String, ImageReference.ArchiveFormat)
        case standardInput(StandardInput)
    }

    private enum Images {
        case layout(LayoutImages)
        case docker(DockerArchive)
    }

    private let input: Input
    private let limits: DocumentLimits
    private let logger: Logger
    private let opened = Mutex<Images?>(nil)

    init(_ input: Input, limits: DocumentLimits = .init(), logger: Logger) {
        self.input = input
        self.limits = limits
        self.logger = logger
    }

    func resolve(_ reference: ImageReference, platform: Platform) async throws(OCIError) -> ResolvedImage {
        let (name, digest) = try selection(of: reference)
        let images = try await onOwnThread { () throws(OCIError) -> Images in try self.images() }
        switch images {
        case .layout(let layout):
            return try await layout.resolve(
                reference, names: name.map { names($0) }, digest: digest, platform: platform)
        case .docker(let archive):
            return try await archive.resolve(reference, name: name, digest: digest, platform: platform)
        }
    }

    func openLayer(_ layer: Descriptor) throws(OCIError) -> any BlobReader {
        switch try images() {
        case .layout(let layout): try layout.openLayer(layer)
        case .docker(let archive): try archive.openLayer(layer)
        }
    }

    private func selection(of reference: ImageReference) throws(OCIError) -> (name: String?, digest: Digest?) {
        switch (reference.transport, input) {
        case (.archive(let format, let file, let tag, let digest), .file(let path, let kind))
        where path == file && kind == format:
            return (tag, digest)
        case (.standardInput, .standardInput): return (nil, nil)
        default: throw OCIError(.invalidReference, "\(reference) is not in this archive")
        }
    }

    /// `docker save` gives an image its full name; a person writes what `docker images` shows.
    private func names(_ written: String) -> [String] {
        guard case .file(_, .docker) = input else { return [written] }
        return [DockerArchive.fullName(written), written]
    }

    private func images() throws(OCIError) -> Images {
        try opened.withLock { (opened) throws(OCIError) -> Images in
            if let opened { return opened }
            let images = try open()
            opened = images
            return images
        }
    }

    private func open() throws(OCIError) -> Images {
        let archive: ArchiveFile
        let form: String
        switch input {
        case .file(let path, let format):
            archive = try .open(path)
            form = format == .oci ? "oci-archive:FILE:tag" : "docker-archive:FILE:name:tag"
        case .standardInput(let standardInput):
            archive = try standardInput.open()
            form = "oci-archive:FILE:tag or docker-archive:FILE:name:tag of a file"
        }
        let hasLayout = archive.index.contains("oci-layout") && archive.index.contains("index.json")
        let hasDocker = archive.index.contains(DockerArchive.listName)
        try check(archive.shown, hasLayout: hasLayout, hasDocker: hasDocker)
        // What a layout says is proven by digests throughout, so it goes first where an archive is both.
        return hasLayout
            ? .layout(LayoutImages(files: archive, limits: limits, form: form, logger: logger))
            : .docker(DockerArchive(files: archive, limits: limits, form: form, logger: logger))
    }

    private func check(_ name: String, hasLayout: Bool, hasDocker: Bool) throws(OCIError) {
        switch input {
        case .file(_, .oci) where !hasLayout && hasDocker:
            throw OCIError(.invalidArchive, "\(name) is an archive of docker save: write docker-archive:\(name)")
        case .file(_, .docker) where !hasDocker && hasLayout:
            throw OCIError(.invalidArchive, "\(name) is an archive of an OCI layout: write oci-archive:\(name)")
        default:
            guard hasLayout || hasDocker else {
                throw OCIError(
                    .invalidArchive,
                    "\(name) holds no image: it has neither oci-layout and index.json nor \(DockerArchive.listName)")
            }
        }
    }
}
