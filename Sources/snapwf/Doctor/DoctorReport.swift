/// What the doctor says about one thing.
struct Finding: Sendable, Encodable, Hashable {
    enum Verdict: String, Sendable, Encodable {
        case ok
        /// Runs work, but somebody should look.
        case warn
        /// Runs do not work, or not safely.
        case fail
    }
    let name: String
    let verdict: Verdict
    let text: String
    /// What to do about it; nil when all is well.
    let next: String?

    static func ok(_ name: String, _ text: String) -> Finding {
        Finding(name: name, verdict: .ok, text: text, next: nil)
    }

    static func warn(_ name: String, _ text: String, next: String) -> Finding {
        Finding(name: name, verdict: .warn, text: text, next: next)
    }

    static func fail(_ name: String, _ text: String, next: String) -> Finding {
        Finding(name: name, verdict: .fail, text: text, next: next)
    }
}

/// `snapwf doctor`
struct DoctorReport: Encodable {
    let schema = 1
    let healthy: Bool
    let checks: [Finding]

    init(_ findings: [Finding]) {
        healthy = !findings.contains { $0.verdict == .fail }
        checks = findings
    }

    /// A line for each check.
    ///
    /// - Parameter quiet: only what is not well.
    func text(quiet: Bool) -> String {
        let shown = quiet ? checks.filter { $0.verdict != .ok } : checks
        return table(
            shown.map { finding in
                // What libraries say may have several lines.
                let line = (finding.text + (finding.next.map { "; next: \($0)" } ?? "")).split { $0.isNewline }
                return [finding.verdict.word, finding.name, line.joined(separator: " ")]
            })
    }
}

extension Finding.Verdict {
    fileprivate var word: String {
        switch self {
        case .ok: "ok"
        case .warn: "warn"
        case .fail: "FAIL"
        }
    }
}
