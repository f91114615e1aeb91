/// Counts and hashes the bytes of a blob as they pass, and knows at the end whether they are the right ones.
struct BlobVerifier: Sendable {
    private let descriptor: Descriptor
    /// What the blob is, for messages: `layer sha256:… of ghcr.io/acme/app`.
    private let name: String
    private var hasher: DigestHasher
    private(set) var count: Int64 = 0

    init(_ descriptor: Descriptor, name: String) {
        self.descriptor = descriptor
        self.name = name
        hasher = DigestHasher(algorithm: descriptor.digest.algorithm)
    }

    mutating func accept(_ bytes: UnsafeRawBufferPointer) throws(OCIError) {
        // The sum cannot overflow: no blob in memory or on a disk reaches 2^63 bytes.
        count += Int64(bytes.count)
        guard count <= descriptor.size else {
            throw OCIError(
                .sizeMismatch, "\(name) is larger than the \(descriptor.size) bytes that its descriptor states")
        }
        hasher.update(bytes)
    }

    func finish() throws(OCIError) {
        guard count == descriptor.size else {
            throw OCIError(
                .sizeMismatch, "\(name) ends after \(count) bytes; its descriptor states \(descriptor.size)")
        }
        let found = hasher.finalize()
        guard found == descriptor.digest else {
            throw OCIError(.digestMismatch, "\(name) is damaged: its bytes have the digest \(found)")
        }
    }

    /// Verifies a whole small blob.
    static func verify(_ bytes: [UInt8], _ descriptor: Descriptor, name: String) throws(OCIError) {
        var verifier = BlobVerifier(descriptor, name: name)
        let accepted: Result<Void, OCIError> = bytes.withUnsafeBytes { buffer in
            do throws(OCIError) {
                return .success(try verifier.accept(buffer))
            } catch {
                return .failure(error)
            }
        }
        try accepted.get()
        try verifier.finish()
    }
}
