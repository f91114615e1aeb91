/// Prometheus' text format 0.0.4: how names, labels and numbers are written.
enum Exposition {
    static let mediaType = "text/plain; version=0.0.4; charset=utf-8"

    /// A name as the format allows it (`[a-zA-Z_:][a-zA-Z0-9_:]*`): `workflow.run.duration` becomes `workflow_run_duration`.
    static func name(_ text: String) -> String {
        let name = String(text.unicodeScalars.map { isLetter($0) || isDigit($0) || $0 == ":" ? Character($0) : "_" })
        return name.unicodeScalars.first.map(isDigit) ?? true ? "_" + name : name
    }

    /// The name of a label, which has no colons.
    static func labelName(_ text: String) -> String { name(text).replacing(":", with: "_") }

    /// `{queue="local"}`, or nothing.
    static func labels(_ labels: [(String, String)]) -> String {
        if labels.isEmpty { return "" }
        return "{" + labels.map { "\($0)=\"\(escaped($1, quotes: true))\"" }.joined(separator: ",") + "}"
    }

    /// The two lines before the samples of a metric.
    static func head(_ name: String, _ help: String, _ type: String) -> String {
        "# HELP \(name) \(escaped(help, quotes: false))\n# TYPE \(name) \(type)\n"
    }

    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        return value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        let text = text.replacing("\\", with: "\\\\").replacing("\n", with: "\\n")
        return quotes ? text.replacing("\"", with: "\\\"") : text
    }

    private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
        ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar) || scalar == "_"
    }

    private static func isDigit(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }
}
