import Foundation
import Testing

@testable import Workflow
@testable import snapwf

/// What `snapwf resume --plan` prints for every thing that a resume can do.
struct PlanDocumentTests {
    private static let now = Date(timeIntervalSince1970: 1_800_000_000)
    private static let id = RunID(time: now, high: 1, low: 2)

    private static func run(_ status: RunStatus) -> RunRecord {
        RunRecord(
            id: id, workflow: "snapshot", version: 1, status: status, recordedStatus: .running, input: "{}",
            inputHash: "", dedupKey: nil, epoch: 3,
            owner: RunOwner(description: "snapwf", pid: 4711, host: "here", since: now), wakeAt: nil, deadlineAt: nil,
            cancelRequestedAt: nil, output: nil, failure: nil, labels: ["image": "alpine"], createdAt: now,
            updatedAt: now, finishedAt: nil)
    }

    private static func step(
        _ name: String, _ action: ResumePlan.StepAction, state: StepRecord.State = .intended, error: String? = nil
    ) -> ResumePlan.Step {
        ResumePlan.Step(
            record: StepRecord(
                runID: id, name: name, kind: name == "nap" ? .sleep : .step, scope: "", generation: 0, state: state,
                attempt: 2, failures: 0, crashes: 0, idempotencyKey: "k", inDoubtPolicy: .ask, input: nil,
                inputHash: nil, output: nil,
                failure: error.map { Failure(kind: .error, type: "E", message: $0, step: name, payload: nil) },
                progress: nil, nextAttemptAt: nil, deadlineAt: nil, startedAt: now, finishedAt: nil),
            action: action)
    }

    private static func resource(
        _ action: ResumePlan.ResourceAction, _ state: ResourceRecord.State
    ) -> ResumePlan.Resource {
        ResumePlan.Resource(
            record: ResourceRecord(
                key: ResourceKey(idempotencyKey: "k", runID: id, name: "sandbox", generation: 2, intendedAt: now),
                kind: "sandbox", scope: "", state: state, externalID: "sb-1", handle: nil, failures: 0, failure: nil,
                updatedAt: now),
            action: action)
    }

    private static func document(
        _ steps: [ResumePlan.Step], _ resources: [ResumePlan.Resource] = [], status: RunStatus = .interrupted,
        cancelled: Bool = false, late: Bool = false
    ) -> PlanDocument {
        PlanDocument(
            ResumePlan(
                run: run(status), steps: steps, resources: resources, isCancelRequested: cancelled,
                isPastDeadline: late),
            now: now)
    }

    @Test("every step is a line of its own that says what a resume does with it")
    func steps() {
        let failure = Failure(kind: .error, type: "E", message: "no such tag", step: "x", payload: nil)
        let plan = Self.document([
            Self.step("resolve", .useOutput, state: .done), Self.step("bad", .throwFailure(failure), state: .failed),
            Self.step("later", .retry(at: Self.now + 90), state: .failed, error: "not reachable"),
            Self.step("due", .retry(at: Self.now - 5), state: .failed), Self.step("pull", .runAgain),
            Self.step("push", .verify), Self.step("nap", .sleep(until: Self.now + 7200)),
            Self.step("old", .takeAgain, state: .done),
        ])
        let lines = plan.text.split(separator: "\n").map(String.init)
        func line(_ name: String) -> String { lines.first { $0.hasPrefix(name + " ") } ?? "no line" }
        #expect(line("STEP").hasSuffix("A RESUME"))
        #expect(line("resolve").hasSuffix("done      2         uses its output"))
        #expect(line("bad").hasSuffix("fails as recorded: no such tag"))
        #expect(line("later").hasSuffix("tries again in 1 min 30 s, attempt 3 (not reachable)"))
        #expect(line("due").hasSuffix("tries again at once, attempt 3"))
        #expect(line("pull").hasSuffix("runs it again, attempt 3: repeating it is safe"))
        #expect(line("push").hasSuffix("finds out whether it happened"))
        #expect(line("nap").hasSuffix("wakes in 2 h 00 min"))
        #expect(line("old").hasSuffix("takes it again: what it was taken in is gone"))
        #expect(line("next").hasSuffix("snapwf resume \(Self.id)"))
        #expect(plan.undecided.isEmpty)
    }

    @Test(
        "a sandbox's line says whether it is looked for, used, released or replaced",
        arguments: [
            (ResumePlan.ResourceAction.findOrCreate, "looks for what exists, else creates it"),
            (.use, "uses it, if it is still alive"), (.finishRelease, "goes on releasing it"),
            (.nextGenerationIfNeeded, "creates the next one if a step needs it"),
        ])
    func resources(action: ResumePlan.ResourceAction, words: String) {
        let text = Self.document([], [Self.resource(action, .held)]).text
        #expect(text.contains("sandbox   2           held   sb-1  \(words)\n"), "\(text)")
    }

    @Test("a step that needs a decision is named, with what can be done, and no resume is suggested")
    func undecided() {
        let plan = Self.document([Self.step("pay", .ask), Self.step("pull", .runAgain)])
        #expect(plan.undecided == ["pay"])
        #expect(plan.text.contains("stops here: somebody has to decide"))
        #expect(plan.text.contains("Needs a decision: pay.") && plan.text.contains("snapwf decide "))
        #expect(plan.text.contains("snapwf cancel ") && !plan.text.contains("snapwf resume"))
    }

    @Test("a run that is cancelled or late only releases, and nobody has to decide any more")
    func onlyEnds() {
        let steps = [Self.step("resolve", .useOutput, state: .done), Self.step("pay", .ask)]
        for plan in [
            Self.document(steps, [Self.resource(.use, .held)], cancelled: true),
            Self.document(steps, [Self.resource(.use, .held)], late: true),
        ] {
            #expect(plan.undecided.isEmpty)
            #expect(plan.text.contains("a resume only releases what it owns"))
            #expect(plan.text.contains("does not take it") && plan.text.contains("releases it\n"))
            #expect(plan.text.contains("uses its output"))
        }
    }

    @Test("a run at work is not in doubt: its plan names the process, and suggests nothing")
    func held() {
        let plan = Self.document([Self.step("pay", .ask)], status: .running)
        #expect(plan.undecided.isEmpty)
        #expect(plan.text.contains("running (process 4711 on here)") && plan.text.contains("if it died now"))
        #expect(!plan.text.contains("snapwf resume"))
    }

    @Test("the JSON has a schema, an action for each step in one word, and times where they matter")
    func json() throws {
        let plan = Self.document(
            [Self.step("pay", .ask), Self.step("later", .retry(at: Self.now + 90), state: .failed, error: "e")],
            [Self.resource(.findOrCreate, .intended)])
        let value = try JSONSerialization.jsonObject(with: Data(JSONText.document(plan).utf8))
        let document = try #require(value as? [String: Any])
        #expect(document["schema"] as? Int == 1 && document["undecided"] as? [String] == ["pay"])
        #expect(document["cancelRequested"] as? Bool == false && document["pastDeadline"] as? Bool == false)
        let steps = try #require(document["steps"] as? [[String: Any]])
        #expect(steps.compactMap { $0["action"] as? String } == ["ask", "retry"])
        #expect(steps[1]["at"] as? String == "2027-01-15T08:01:30Z" && steps[1]["error"] as? String == "e")
        #expect(steps[0]["words"] == nil)
        let resources = try #require(document["resources"] as? [[String: Any]])
        #expect(resources.first?["action"] as? String == "find-or-create")
    }
}
