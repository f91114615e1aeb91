import ArgumentParser
import Testing

@testable import snapwf

struct CandidateTests {
    @Test("a candidate with colons stays one word in every shell, and its description one line")
    func lines() {
        let candidate = Candidate(text: "base:1.2", about: "oci:a\nb\u{1B}[31m")
        #expect(candidate.line(for: .bash) == "base:1.2")
        #expect(candidate.line(for: nil) == "base:1.2")
        #expect(candidate.line(for: .zsh) == "base\\:1.2:oci:a b [31m")
        #expect(candidate.line(for: .fish) == "base:1.2\toci:a b [31m")
    }
}
