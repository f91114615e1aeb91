/// Another registry that has the images of one: `HOST=MIRROR[/prefix]`.
///
/// What `HOST/acme/app` names is looked for as `MIRROR/prefix/acme/app` first. A mirror is believed about tags, as any
/// registry is; what has a digest is checked.
package struct RegistryMirror: Sendable, Hashable {
    /// The registry whose images it has; Docker Hub is `docker.io`.
    package let origin: String
    package let host: String
    /// What stands before the repository's name, empty or ending with a slash.
    package let prefix: String

    package init(parsing text: String) throws(OCIError) {
        func invalid(_ why: String) -> OCIError {
            OCIError(
                .invalidConfiguration,
                "\(excerpt(text)) is no mirror: \(why); write for example docker.io=mirror.example or "
                    + "ghcr.io=cache.example:5000/ghcr")
        }
        let sides = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard sides.count == 2 else { throw invalid("it has no '='") }
        guard !text.contains("://") else {
            throw invalid("hosts stand without http:// or https:// (plain HTTP is allowed by host)")
        }
        let origin = sides[0].lowercased()
        guard ImageReference.isHost(origin) else { throw invalid("\(excerpt(sides[0])) is no host name") }
        let parts = sides[1].split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let host = (parts.first ?? "").lowercased()
        guard ImageReference.isHost(host) else { throw invalid("\(excerpt(parts.first ?? "")) is no host name") }
        var path = parts.count > 1 ? parts[1] : ""
        if path.hasSuffix("/") { path.removeLast() }
        let components = path.split(separator: "/", omittingEmptySubsequences: false)
        guard path.isEmpty || components.allSatisfy(ImageReference.isPathComponent), path.utf8.count <= 200 else {
            throw invalid("\(excerpt(path)) is no part of a repository's name")
        }
        self.origin = origin == "index.docker.io" ? "docker.io" : origin
        self.host = host == "index.docker.io" ? "docker.io" : host
        prefix = path.isEmpty ? "" : path + "/"
    }
}
