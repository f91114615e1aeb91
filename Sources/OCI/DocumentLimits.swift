/// How large the documents of an image may be. They are held in memory, so larger ones are refused before they are read.
package struct DocumentLimits: Sendable {
    /// Names a limit to whoever can raise it.
    package enum Name: Sendable, Hashable, CaseIterable {
        case manifestBytes
        case configBytes
    }

    /// Of a manifest, an index, or the list of images of an archive; registries have the same limit.
    package var manifestBytes = 4 << 20
    /// Of an image's config.
    package var configBytes = 8 << 20

    package init() {}

    func bytes(_ name: Name) -> Int {
        switch name {
        case .manifestBytes: manifestBytes
        case .configBytes: configBytes
        }
    }
}

extension OCIError {
    /// The same error, which says whose limit it is when it is one of size.
    func exceeding(_ limit: DocumentLimits.Name) -> OCIError {
        var copy = self
        if code == .tooLarge { copy.exceeded = limit }
        return copy
    }
}
