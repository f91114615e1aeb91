import Tracing

/// The spans of an execution: one for the run in this process, below it one for each attempt of a step. Resources and
/// commits have none; the metrics tell about those.
struct Spans: Sendable {
    /// The tracer that was in force when the engine was opened; `nil` without one, and then a span costs nothing.
    private let tracer: (any Tracer)?

    init(_ tracer: any Tracer) {
        self.tracer = tracer is NoOpTracer ? nil : tracer
    }

    /// The run, from here until it ended or was left.
    func run(
        _ id: RunID, of workflow: String, epoch: Int, _ body: () async -> RunOutcome
    ) async -> RunOutcome {
        guard let tracer else { return await body() }
        return await tracer.withAnySpan("run \(workflow)") { span in
            if span.isRecording {
                span.attributes["workflow.name"] = workflow
                span.attributes["workflow.run.id"] = id.description
                span.attributes["workflow.run.epoch"] = epoch
            }
            let outcome = await body()
            if span.isRecording {
                span.attributes["workflow.outcome"] = outcome.name
                if let message = outcome.trouble { span.setStatus(SpanStatus(code: .error, message: message)) }
            }
            return outcome
        }
    }

    /// One call of a step's body.
    func attempt<Output>(
        _ attempt: Int, of step: String, run: RunID, _ body: () async throws -> Ending<Output>
    ) async rethrows -> Ending<Output> {
        guard let tracer else { return try await body() }
        return try await tracer.withAnySpan("step \(RunMetrics.series(of: step))") { span in
            if span.isRecording {
                span.attributes["workflow.run.id"] = run.description
                span.attributes["workflow.step.name"] = step
                span.attributes["workflow.step.attempt"] = attempt
            }
            let ending = try await body()
            if span.isRecording {
                span.attributes["workflow.outcome"] = ending.name
                switch ending {
                case .returned: break
                case .threw(let error):
                    span.recordError(error)
                    span.setStatus(SpanStatus(code: .error, message: Payload.excerpt("\(error)", limit: 1000)))
                case .timedOut, .abandoned: span.setStatus(SpanStatus(code: .error, message: ending.name))
                }
            }
            return ending
        }
    }
}

extension Ending {
    /// The ending as metrics and spans call it.
    var name: String {
        switch self {
        case .returned: "returned"
        case .threw: "threw"
        case .timedOut: "timed_out"
        case .abandoned: "abandoned"
        }
    }
}

extension RunOutcome {
    /// The outcome as metrics and spans call it.
    var name: String {
        switch self {
        case .succeeded: "succeeded"
        case .failed: "failed"
        case .cancelled: "cancelled"
        case .stopped: "stopped"
        }
    }

    /// Why it is a span with an error, if it is one. A cancelled run did what it was told.
    fileprivate var trouble: String? {
        switch self {
        case .succeeded, .cancelled: nil
        case .failed(let failure, _): Payload.excerpt(failure.message, limit: 1000)
        case .stopped(let reason): Payload.excerpt(reason.message, limit: 1000)
        }
    }
}
