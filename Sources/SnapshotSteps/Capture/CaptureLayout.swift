import Files
import FoundationEssentials
import Glibc
import HelperInterface
import OCI
import Sandbox

/// An OCI image layout of one layer: a sandbox's work directory as tar(1) in the sandbox packs it.
struct CaptureLayout: Sendable {
    let directory: String
    /// The capture's id. It stands in the image config, so that no two captures are one image, however equal the files.
    let capture: String

    private var blobs: String { directory + "/blobs/sha256" }
    private var index: String { directory + "/index.json" }

    /// The index is written last.
    var isWhole: Bool { fileExists(index) }

    /// What the file system keeps free: the conversion, and everybody else, need room too.
    private static let reserve: UInt64 = 1 << 30

    /// What the script ends with when a file changed while GNU's tar read it; no tar has this exit code.
    private static let changed: Int32 = 77

    /// GNU's tar keeps attributes and holes; busybox's knows of none. What durable commands left is not the sandbox's
    /// own. To GNU's tar the exit code 1 means that a file changed, to busybox's that anything at all failed.
    private static let script = """
        cd /work || exit 2
        set -- --exclude=./.commands --numeric-owner -cf - .
        tar --version 2> /dev/null | grep -q GNU || exec tar "$@"
        tar --sparse --xattrs --xattrs-include='*' --acls --ignore-failed-read "$@"
        code=$?
        test $code -ne 1 || exit \(changed)
        exit $code
        """

    /// - Throws: what the provider throws, `FileError` here, `diskFull` before the file system is, or `failed` with
    ///   tar's own words.
    func pack(_ sandbox: SandboxID, _ provider: any SandboxProvider) async throws {
        let layer = directory + "/layer.tar"
        let (blobs, directory) = (blobs, directory)
        try await onOwnThread {
            try makeDirectories(blobs, mode: 0o700)
            _ = try OpenFile(layer, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC)
        }
        let (exitCode, complaint) = try await provider.streamPieces(.shell(Self.script), in: sandbox) { piece in
            try await onOwnThread { try Self.append(piece, to: layer) }
        }
        // That a file changes while it is read is what a running sandbox's files do.
        guard exitCode == 0 || exitCode == Self.changed else {
            throw SnapshotError(
                .failed,
                "tar in the sandbox failed (exit code \(exitCode)): "
                    + complaint.split(separator: "\n").joined(separator: "; "))
        }
        try await onOwnThread {
            try replaceFile(directory + "/oci-layout", Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8), mode: 0o600)
            try describe(layer)
        }
    }

    /// How the snapshot workflow names the image.
    func reference() throws -> String {
        guard let bytes = try readFile(index, limit: 64 << 10) else {
            throw SnapshotError(.failed, "\(index) is gone")
        }
        let index = try JSONDecoder().decode(Index.self, from: Data(bytes))
        guard let manifest = index.manifests.first else { throw SnapshotError(.failed, "\(directory) holds no image") }
        return "oci:\(directory)@\(manifest.digest)"
    }

    func remove() throws {
        if fileExists(directory) { try removeTree(directory) }
    }

    private static func append(_ bytes: [UInt8], to path: String) throws {
        let file = try OpenFile(path, O_WRONLY | O_APPEND | O_CLOEXEC)
        var info = statvfs()
        try retryingInterrupts("ask for the free space of \(path)") { fstatvfs(file.descriptor, &info) }
        let (free, overflow) = UInt64(info.f_bavail).multipliedReportingOverflow(by: UInt64(info.f_frsize))
        guard overflow || free >= reserve + UInt64(bytes.count) else {
            throw SnapshotError(
                .diskFull,
                """
                the sandbox's files do not fit: less than 1 GiB is left free below \(parentDirectory(of: path)). \
                Free some, or use another disk: SNAPWF_HOME=/path snapwf serve
                """)
        }
        try file.write(bytes)
    }

    // MARK: - The documents (https://github.com/opencontainers/image-spec, manifest.md and image-layout.md)

    private struct Index: Codable {
        var schemaVersion = 2
        var manifests: [Descriptor]
    }

    private struct Descriptor: Codable {
        var mediaType: String
        var digest: String
        var size: UInt64
    }

    private struct Manifest: Codable {
        var schemaVersion = 2
        var mediaType = "application/vnd.oci.image.manifest.v1+json"
        var config: Descriptor
        var layers: [Descriptor]
    }

    private struct Config: Codable {
        struct RootFS: Codable {
            var type = "layers"
            var diff_ids: [String]
        }
        struct Execution: Codable {
            var Labels: [String: String]
        }
        var architecture: String
        var os: String
        var config: Execution
        var rootfs: RootFS
    }

    private func describe(_ layer: String) throws {
        let packed = try adopt(layer, as: "application/vnd.oci.image.layer.v1.tar")
        let platform = Platform.host
        let config = try store(
            Config(
                architecture: platform.architecture, os: platform.os,
                config: .init(Labels: ["snapwf.capture": capture]), rootfs: .init(diff_ids: [packed.digest])),
            as: "application/vnd.oci.image.config.v1+json")
        let manifest = Manifest(config: config, layers: [packed])
        let stored = try store(manifest, as: manifest.mediaType)
        try replaceFile(index, try encoded(Index(manifests: [stored])), mode: 0o600)
    }

    private func store(_ document: some Encodable, as mediaType: String) throws -> Descriptor {
        let file = directory + "/document"
        try replaceFile(file, try encoded(document), mode: 0o600)
        return try adopt(file, as: mediaType)
    }

    /// Moves a file, with its bytes durable, to where its digest says.
    private func adopt(_ file: String, as mediaType: String) throws -> Descriptor {
        let opened = try OpenFile(file, O_RDONLY)
        try opened.sync()
        let (hex, size) = try sha256(of: opened)
        try renameDurably(file, to: "\(blobs)/\(hex)")
        return Descriptor(mediaType: mediaType, digest: "sha256:\(hex)", size: size)
    }

    private func encoded(_ document: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(document))
    }
}
