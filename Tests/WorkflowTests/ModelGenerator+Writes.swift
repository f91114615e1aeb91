import Foundation

@testable import Workflow

/// Changes of a run that fit what is recorded of it, and some that do not.
extension ModelGenerator {
    private static let stepNames = ["pull", "boot", "measure", "report"]
    /// The name of a sleep; the others are steps.
    private static let sleepName = "measure"
    private static let scopes = ["", "", "box#1", "box#2"]

    mutating func write(_ oracle: ModelOracle, _ id: RunID) -> RunWrite {
        switch random.number(0...99) {
        case ..<26: return intent(oracle, id)
        case ..<38: return .done(attempt(oracle, id), output: text())
        case ..<46:
            let attempt = attempt(oracle, id)
            // A sleep does not fail.
            return attempt.key == Self.sleepName ? .progress(attempt, text()) : .failed(attempt, ending())
        case ..<52: return .progress(attempt(oracle, id), text())
        case ..<57: return decide(oracle, id)
        case ..<63:
            let states = random.chance(900) ? Self.unfinished : RunStatus.allCases
            return .status(random.pick(states) ?? .running, wakeAt: time(oracle))
        case ..<66: return finish()
        case ..<74: return resourceIntent(oracle, id)
        case ..<80: return .resourceHeld(key: resource(oracle, id, [.intended]), externalID: text(), handle: text())
        case ..<88: return resourceState(oracle, id)
        case ..<91:
            return .resourceFailed(
                key: resource(oracle, id, nil), failures: random.number(1...9), failure: failure(),
                nextAttemptAt: time(oracle))
        default:
            let key = random.chance(400) ? "once \(random.number(0...5))" : nil
            return .event(
                NewEvent(
                    "note.\(random.number(0...3))", name: random.chance(500) ? "pull" : nil,
                    attempt: random.chance(300) ? random.number(1...4) : nil,
                    json: random.chance(500) ? text() : nil, dedupKey: key))
        }
    }

    private static let unfinished: [RunStatus] = [.pending, .running, .sleeping]

    // MARK: - Steps

    private mutating func intent(_ oracle: ModelOracle, _ id: RunID) -> RunWrite {
        let name = random.pick(Self.stepNames) ?? "pull"
        let known = oracle.steps[id]?.first { $0.name == name }
        var scope = known?.scope ?? random.pick(Self.scopes) ?? ""
        if random.chance(250) { scope = random.pick(Self.scopes) ?? "" }
        let kind: StepRecord.Kind = name == Self.sleepName ? .sleep : .step
        // In each generation attempts are counted from 1, and a sleep has one.
        var number = 1
        if let known, known.scope == scope, kind == .step {
            number = random.chance(150) ? random.number(0...4) : known.attempt + 1
        } else if random.chance(20) {
            number = 0
        }
        let input = random.chance(300) ? text() : nil
        return .intent(
            StepIntent(
                attempt: StepAttempt(key: name, scope: scope, attempt: number),
                kind: kind, generation: random.number(0...3),
                failures: random.number(0...3), crashes: random.number(0...3), idempotencyKey: "k-\(name)-\(scope)",
                policy: random.pick([.retry, .ask, .verify]) ?? .retry, input: input,
                inputHash: input.map(Payload.hash), progress: random.chance(300) ? text() : nil,
                wakeAt: kind == .sleep ? Timestamp(milliseconds: oracle.now + 500) : time(oracle),
                deadlineAt: time(oracle)))
    }

    /// Mostly one that is under way.
    private mutating func attempt(_ oracle: ModelOracle, _ id: RunID) -> StepAttempt {
        let steps = oracle.steps[id] ?? []
        let isFitting = random.chance(850)
        guard let step = random.pick(steps.filter { !isFitting || $0.state == .intended }) else {
            return StepAttempt(key: random.pick(Self.stepNames) ?? "pull", scope: "", attempt: 1)
        }
        let scope = random.chance(50) ? "box#9" : step.scope
        return StepAttempt(
            key: step.name, scope: scope, attempt: step.attempt + (random.chance(50) ? random.number(-1...1) : 0))
    }

    private mutating func ending() -> StepEnding {
        let isFinal = random.chance(300)
        return StepEnding(
            state: isFinal || random.chance(600) ? .failed : .intended, failures: random.number(0...5),
            crashes: random.number(0...5), failure: failure(),
            nextAttemptAt: isFinal ? nil : Timestamp(milliseconds: Int64(random.number(0...1 << 40))),
            progress: random.chance(300) ? text() : nil, isFinal: isFinal)
    }

    private mutating func decide(_ oracle: ModelOracle, _ id: RunID) -> RunWrite {
        let name = attempt(oracle, id).key
        switch random.number(0...2) {
        case 0: return .decide(step: name, .runAgain)
        case 1: return .decide(step: name, .done(output: text()))
        default: return .decide(step: name, .failed(reason: "no. \(random.number(0...99))"))
        }
    }

    // MARK: - The run and its resources

    private mutating func finish() -> RunWrite {
        if random.chance(150) {
            return .finish(random.pick(RunStatus.allCases) ?? .running, output: nil, failure: nil)
        }
        switch random.number(0...2) {
        case 0: return .finish(.succeeded, output: text(), failure: nil)
        case 1: return .finish(.failed, output: nil, failure: failure())
        default: return .finish(.cancelled, output: nil, failure: failure())
        }
    }

    private mutating func resourceIntent(_ oracle: ModelOracle, _ id: RunID) -> RunWrite {
        nextResource += 1
        let key = random.chance(100) ? resource(oracle, id, nil) : "\(id)-\(nextResource)"
        return .resourceIntent(
            ResourceIntent(
                key: ResourceKey(
                    idempotencyKey: key, runID: id, name: "box", generation: random.number(1...3),
                    intendedAt: Timestamp(milliseconds: oracle.now).date),
                kind: random.pick(["sandbox", "lease"]) ?? "lease", scope: random.pick(Self.scopes) ?? ""))
    }

    private mutating func resourceState(_ oracle: ModelOracle, _ id: RunID) -> RunWrite {
        let states = ResourceRecord.State.allCases
        let from = random.chance(200) ? states.filter { _ in random.chance(300) } : [.intended, .held, .releasing]
        return .resourceState(key: resource(oracle, id, nil), from: from, to: random.pick(states) ?? .lost)
    }

    /// Mostly one of the run, seldom one of another run or none.
    private mutating func resource(
        _ oracle: ModelOracle, _ id: RunID, _ states: [ResourceRecord.State]?
    ) -> String {
        if random.chance(80) { return random.pick(oracle.resources)?.key ?? "none" }
        let fitting = oracle.resources.filter { $0.run == id && (states?.contains($0.state) ?? true) }
        return random.pick(fitting)?.key ?? "none"
    }

    // MARK: - Values

    private mutating func text() -> String { "\"\(random.number(0...999))\"" }

    private mutating func time(_ oracle: ModelOracle) -> Timestamp? {
        random.chance(500) ? Timestamp(milliseconds: oracle.now + Int64(random.number(-500...5000))) : nil
    }

    private mutating func failure() -> Failure {
        Failure(
            kind: random.pick([.error, .timeout, .crashed, .resourceLost]) ?? .error, type: "Model.Trouble",
            message: "trouble \(random.number(0...99))", step: random.chance(500) ? "pull" : nil,
            payload: random.chance(300) ? text() : nil)
    }
}
