import Testing

@testable import snapwf

struct NearestNameTests {
    @Test(
        "the nearest name is found, and nothing where none is near",
        arguments: [
            ("rnu", "run"), ("resmue", "resume"), ("snapshot", "snapshots"), ("show", "show"), ("SHOW", "show"),
            ("xyzzy", nil), ("", nil), ("r", "rm"),
        ] as [(String, String?)])
    func nearestName(_ word: String, _ wanted: String?) {
        #expect(nearest(word, among: ["run", "rm", "resume", "show", "snapshots", "ls"]) == wanted)
    }

    @Test("a swap of two letters is one difference; long words may differ more")
    func distances() {
        #expect(nearest("snapshost", among: ["snapshots"]) == "snapshots")
        #expect(nearest("completion", among: ["completions", "complete"]) == "completions")
        #expect(nearest(String(repeating: "a", count: 10_000), among: ["run"]) == nil)
    }
}
