/// A snapshot that is whole, verified and visible.
package struct Snapshot: Codable, Sendable, Hashable {
    /// `snap-` and 16 hexadecimal digits of the key.
    package var id: String
    package var key: String
    /// The ext4 file.
    package var path: String
    package var image: String
    package var manifestDigest: String
    package var platform: String
    package var sha256: String
    package var uuid: String
    /// Bytes of the file, holes included.
    package var size: UInt64
    package var entries: Int
    /// The image config, as the registry has it.
    package var config: String
    package var runID: String
    /// Milliseconds since 1970.
    package var createdAt: Int64
    package var lastUsedAt: Int64
}
