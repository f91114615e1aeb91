internal import HTTPTypes

extension HTTPFields {
    /// A field by a name that is known to be one.
    subscript(text name: String) -> String? {
        get { HTTPField.Name(name).flatMap { self[$0] } }
        set { if let name = HTTPField.Name(name) { self[name] = newValue } }
    }

    /// Whether a list such as `Accept-Encoding` names gzip.
    func acceptsGzip(_ name: String) -> Bool {
        (self[text: name] ?? "").split(separator: ",").contains { entry in
            let parts = entry.lowercased().split(separator: ";").map { $0.filter { $0 != " " } }
            return parts.first == Gzip.name && !parts.dropFirst().contains { $0 == "q=0" || $0 == "q=0.0" }
        }
    }
}
