/// The version of this package. Both programs say it, registries hear it, the archives of a release carry it.
package enum Version {
    package static let text = "0.1.0"

    /// How both programs introduce themselves to a registry.
    package static let userAgent = "snapwf/\(text)"
}
