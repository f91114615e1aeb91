import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// The live view in the middle of a pull, which stands still for as long as is wanted.
    @Suite("The live view")
    struct LiveView {
        /// A run that stands still in the middle of its pull, with its live line on the screen.
        private static func held(
            columns: Int = 80, environment: [String: String] = [:]
        ) async throws -> (registry: SlowRegistry, installation: Installation, child: TerminalChild) {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let child = try installation.startOnTerminal(
                "run", registry.reference, columns: columns, environment: environment)
            try await registry.waitUntilHolding()
            return (registry, installation, child)
        }

        /// Lines that begin with the sign that turns.
        private static func live(_ screen: Screen) -> [String] {
            screen.lines.filter { line in line.first.map { "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏".contains($0) } ?? false }
        }

        private static func expectNoGarbage(_ child: TerminalChild, sourceLocation: SourceLocation = #_sourceLocation) {
            let screen = child.screen
            #expect(screen.unknown.isEmpty, "\(screen.unknown)", sourceLocation: sourceLocation)
            #expect(live(screen).isEmpty, "the live line is left: \(screen.text)", sourceLocation: sourceLocation)
            #expect(screen.cursor.column == 0, "the prompt is in the middle", sourceLocation: sourceLocation)
            #expect(!child.raw.contains("\u{1B}[?25l"), "the cursor was hidden", sourceLocation: sourceLocation)
            #expect(!child.raw.contains("\u{1B}[2J"), "the screen was cleared", sourceLocation: sourceLocation)
        }

        @Test("a pull shows one line that lives, through changes of the size down to 8 columns, and then the result")
        func progress() async throws {
            let (registry, installation, child) = try await Self.held()
            try await eventually("the pull is shown") {
                Self.live(child.screen).contains { $0.contains("pull") && $0.contains(" of ") }
            }
            #expect(Self.live(child.screen).count == 1, "\(child.screen.text)")
            for columns in [40, 8, 20, 8] {
                child.resize(columns: columns)
                // A frame that was under way is as wide as the terminal was.
                try await Task.sleep(for: .milliseconds(400))
                let before = child.screen.wraps
                try await eventually("it is drawn for \(columns) columns") {
                    child.screen.lines.contains { $0.contains("%") || $0.contains("pull") }
                }
                try await Task.sleep(for: .milliseconds(300))
                #expect(child.screen.wraps == before, "a live line wrapped: \(child.screen.text)")
            }
            child.resize(columns: 80)
            try await eventually("it is whole again") { Self.live(child.screen).contains { $0.contains(" of ") } }
            try registry.letGo()
            #expect(try await child.wait() == 0, "\(child.screen.everything)")
            #expect(child.screen.everything.contains("snapshot  snap-"), "\(child.screen.everything)")
            Self.expectNoGarbage(child)
            try await installation.expectNothingLeft("after a run on a terminal")
        }

        @Test("a run that was stopped and goes on draws below what the shell wrote meanwhile")
        func stopped() async throws {
            let (registry, installation, child) = try await Self.held()
            try await eventually("the pull is shown") { !Self.live(child.screen).isEmpty }
            child.signal(SIGSTOP)
            try await eventually("it is stopped") { kernelFile("/proc/\(child.pid)/stat").contains(") T ") }
            try child.writeBeside("$ fg\n")
            try await eventually("the shell has written") { child.screen.lines.contains("$ fg") }
            child.signal(SIGCONT)
            try await eventually("it draws again below") {
                let lines = child.screen.lines
                guard let shell = lines.firstIndex(of: "$ fg") else { return false }
                return lines.dropFirst(shell + 1).contains { $0.contains("pull") }
            }
            try registry.letGo()
            #expect(try await child.wait() == 0, "\(child.screen.everything)")
            #expect(child.screen.everything.contains("$ fg"), "the shell's line was drawn over")
            try await installation.expectNothingLeft("after a stop")
        }

        @Test("two images share the screen: a line each, and a result each")
        func twoImages() async throws {
            let layout = try await Images.shared.smallLayout()
            let (one, two) = (try await SlowRegistry(layout: layout), try await SlowRegistry(layout: layout))
            let installation = try Installation()
            let child = try installation.startOnTerminal(
                "run", "--jobs", "2", one.reference, two.reference, columns: 100)
            try await one.waitUntilHolding()
            try await two.waitUntilHolding()
            try await eventually("both are shown") {
                child.screen.lines.filter { $0.contains(" of ") && $0.contains("%") }.count == 2
            }
            // The second ends first.
            try two.letGo()
            try await eventually("the second is done") { child.screen.everything.contains("done in") }
            try one.letGo()
            #expect(try await child.wait() == 0, "\(child.screen.everything)")
            let results = child.screen.everything.split(separator: "\n").filter { $0.hasPrefix("snap-") }
            #expect(results.count == 2, "\(child.screen.everything)")
            Self.expectNoGarbage(child)
            try await installation.expectNothingLeft("after two images")
        }
    }
}
