import Foundation
import HelperInterface
import Sandbox
import SnapshotSteps
import Testing

@testable import snapwf

/// The catalogue of errors, and what a failure is turned into.
struct ErrorCatalogTests {
    @Test("every code is once in the catalogue, in kebab case, with a meaning and something to do")
    func complete() throws {
        let names = ErrorCode.all.map(\.name)
        #expect(Set(names).count == names.count)
        for code in ErrorCode.all {
            #expect(code.name.wholeMatch(of: /[a-z]+(-[a-z]+)*/) != nil, "\(code.name)")
            #expect(code.meaning.hasSuffix(".") && code.remedy.hasSuffix("."), "\(code.name)")
            #expect(code.status != .done && code.status != .forced, "\(code.name)")
        }
        #expect(ErrorCode.all.map(\.status.rawValue) == ErrorCode.all.map(\.status.rawValue).sorted())
    }

    @Test("what a module can throw has a code, and a code of ours has something that is thrown so")
    func modules() {
        let snapshot = SnapshotError.Code.allCases.map(ErrorCode.of)
        let sandbox = SandboxError.Code.allCases.map(ErrorCode.of)
        for code in snapshot + sandbox { #expect(ErrorCode.all.contains(code), "\(code.name)") }
        // What only the engine throws, and what only the command line says.
        let others: [ErrorCode] = [
            .alreadyFinished, .cancelled, .deadlinePassed, .inDoubt, .interrupted, .locksNotKept, .output, .runHeld,
            .storeBusy, .storeCorrupt, .storeFailed, .storeMoved, .storeNeedsMigration, .storeNewer, .storeNotEmpty,
            .storeNotWritable, .storeUnavailable, .takenOver, .versionMismatch,
        ]
        let thrown = Set(snapshot + sandbox + others)
        for code in ErrorCode.all { #expect(thrown.contains(code), "nobody throws \(code.name)") }
    }

    @Test("a failure of a module has the same exit code as the catalogue says")
    func status() {
        for code in SnapshotError.Code.allCases {
            #expect(ErrorCode.of(code).status == SnapshotError(code, "").exitStatus, "\(code)")
        }
    }

    @Test("credentials that are missing name the registry to log in to, and a missing program the package")
    func commands() {
        let refused = ErrorReport(
            SnapshotError(
                .credentials, "r:5000 wants credentials for r:5000/a: log in with: docker login r:5000: so it said"))
        #expect(refused.text.hasSuffix("  next: docker login r:5000\n"), "\(refused.text)")
        let missing = ErrorReport(
            SandboxError(.missingTool, "bwrap is missing; install it: apt-get install bubblewrap."))
        #expect(missing.next == "apt-get install bubblewrap")
        #expect(missing.status == .unavailable)
        #expect(ErrorReport(SnapshotError(.diskFull, "it is full")).next == "snapwf gc --dry-run")
    }

    @Test("docs/errors.md says what the program says")
    func page() throws {
        let path = #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 } + "/docs/errors.md"
        if ProcessInfo.processInfo.environment["SNAPWF_WRITE_DOCS"] == "1" {
            try Data(ErrorHelp.markdown.utf8).write(to: URL(fileURLWithPath: path))
        }
        let page = try? String(contentsOfFile: path, encoding: .utf8)
        #expect(page == ErrorHelp.markdown, "write it anew: SNAPWF_WRITE_DOCS=1 swift test --filter ErrorCatalogTests")
    }
}
