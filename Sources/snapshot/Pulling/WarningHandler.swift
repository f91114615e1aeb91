import Logging

/// Tells a person or a program what a library warns of, as any other warning of a pull.
struct WarningHandler: LogHandler {
    private let report: Reporter
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.warning

    init(_ report: Reporter) { self.report = report }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let details = metadata.merging(event.metadata ?? [:]) { _, new in new }
            .sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: ", ")
        report.warning(details.isEmpty ? "\(event.message)" : "\(event.message) (\(details))")
    }
}
