import Glibc
import TestSupport
import Testing

extension EndToEnd {
    @Suite("On a terminal")
    struct OnTerminal {
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
                let before = child.screen.wraps
                try await eventually("it is drawn for \(columns) columns") {
                    child.screen.lines.contains { $0.contains("%") && $0.count < columns }
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

        @Test("Ctrl-C stops the run where it can go on, says how, and leaves the screen in order")
        func interrupt() async throws {
            let (registry, installation, child) = try await Self.held()
            try await eventually("the pull is shown") { !Self.live(child.screen).isEmpty }
            child.type("\u{3}")
            #expect(try await child.wait() == 75, "\(child.screen.everything)")
            #expect(child.screen.everything.contains("Resume with: snapwf resume"), "\(child.screen.everything)")
            Self.expectNoGarbage(child)
            try registry.letGo()
            let resumed = try await installation.snapwf("resume", "@last")
            #expect(resumed.status == 0, "\(resumed.everything)")
            try await installation.expectNothingLeft("after the resume")
        }

        @Test("a terminal that is lost interrupts the run, which goes on elsewhere")
        func hangUp() async throws {
            let (registry, installation, child) = try await Self.held()
            try await eventually("the pull is shown") { !Self.live(child.screen).isEmpty }
            child.hangUp()
            #expect(try await child.wait() == 75, "\(child.screen.everything)")
            #expect(try await installation.lastRun()["status"] as? String == "interrupted")
            try registry.letGo()
            let resumed = try await installation.snapwf("resume", "@last")
            #expect(resumed.status == 0, "\(resumed.everything)")
            try await installation.expectNothingLeft("after the resume")
        }

        @Test("a run that was stopped and goes on draws below what the shell wrote meanwhile")
        func stopped() async throws {
            let (registry, _, child) = try await Self.held()
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
        }

        @Test("a terminal that can do nothing gets lines and not one escape sequence")
        func dumb() async throws {
            let (registry, _, child) = try await Self.held(environment: ["TERM": "dumb"])
            try registry.letGo()
            #expect(try await child.wait() == 0, "\(child.raw)")
            #expect(!child.raw.contains("\u{1B}"), "\(child.raw)")
            #expect(child.raw.contains("pull") && child.raw.contains("done in"), "\(child.raw)")
        }

        @Test("NO_COLOR takes the colours of a terminal, and its absence brings them")
        func noColor() async throws {
            let installation = try Installation()
            for (environment, isColoured) in [(["NO_COLOR": "1"], false), (["NO_COLOR": ""], true)] {
                let child = try installation.startOnTerminal(
                    "run", "oci:/nowhere/at/all:latest", environment: environment)
                #expect(try await child.wait() != 0)
                #expect(child.raw.contains("\u{1B}[31m") == isColoured, "\(environment): \(child.raw)")
                #expect(!isColoured || child.raw.contains("\u{1B}[0m"))
            }
        }

        @Test("a pipe gets lines without an escape sequence, also where colours are forced for nobody")
        func pipe() async throws {
            let installation = try Installation()
            let finished = try await installation.snapwf(
                "run", "oci:\(try await Images.shared.smallLayout()):latest", environment: ["TERM": "xterm-256color"])
            #expect(finished.status == 0 && !finished.everything.contains("\u{1B}"), "\(finished.everything)")
            #expect(finished.errors.contains("done in"))
        }

        @Test("two images share the screen: a line each, and results in the order of the command line")
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
            #expect(results.first?.contains(one.reference) == true, "\(results)")
            Self.expectNoGarbage(child)
            try await installation.expectNothingLeft("after two images")
        }
    }
}
