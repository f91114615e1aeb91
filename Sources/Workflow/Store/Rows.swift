import Foundation

/// A row of whichever database, read by the names of its columns.
protocol StoredRow {
    func text(_ column: String) throws -> String?
    func integer(_ column: String) throws -> Int64?
}

extension StoredRow {
    func needText(_ column: String) throws -> String {
        guard let text = try text(column) else { throw WorkflowError.lacking(column) }
        return text
    }

    func needInteger(_ column: String) throws -> Int64 {
        guard let number = try integer(column) else { throw WorkflowError.lacking(column) }
        return number
    }

    fileprivate func number(_ column: String) throws -> Int { Int(try needInteger(column)) }

    fileprivate func time(_ column: String) throws -> Date {
        Timestamp(milliseconds: try needInteger(column)).date
    }

    fileprivate func timeIfAny(_ column: String) throws -> Date? {
        try integer(column).map { Timestamp(milliseconds: $0).date }
    }
}

extension WorkflowError {
    fileprivate static func lacking(_ column: String) -> WorkflowError {
        WorkflowError(.storeCorrupt, "the store holds a row without its \(column)")
    }
}

/// Rows as records. A row that holds what this program never writes is an error, not a guess.
extension RunRecord {
    static let columns = """
        id, workflow, version, status, input, input_hash, dedup_key, epoch, owner, wake_at, deadline_at,
        cancel_requested_at, output, error, labels, created_at, updated_at, finished_at
        """

    /// - Parameter isHeld: whether somebody holds the run; asked only for runs that are not finished.
    init(_ row: some StoredRow, isHeld: (RunID) -> Bool) throws {
        let id = try runID(row.needText("id"))
        let recorded: RunStatus = try value(row, "status")
        let isInterrupted = !recorded.isFinished && !isHeld(id)
        self.init(
            id: id, workflow: try row.needText("workflow"), version: try row.number("version"),
            status: isInterrupted ? .interrupted : recorded, recordedStatus: recorded,
            input: try row.needText("input"), inputHash: try row.needText("input_hash"),
            dedupKey: try row.text("dedup_key"), epoch: try row.number("epoch"), owner: try json(row, "owner"),
            wakeAt: try row.timeIfAny("wake_at"), deadlineAt: try row.timeIfAny("deadline_at"),
            cancelRequestedAt: try row.timeIfAny("cancel_requested_at"), output: try row.text("output"),
            failure: try json(row, "error"), labels: try json(row, "labels") ?? [:],
            createdAt: try row.time("created_at"), updatedAt: try row.time("updated_at"),
            finishedAt: try row.timeIfAny("finished_at"))
    }
}

extension StepRecord {
    init(_ row: some StoredRow, of run: RunID) throws {
        self.init(
            runID: run, name: try row.needText("key"), kind: try value(row, "kind"), scope: try row.needText("scope"),
            generation: try row.number("generation"), state: try value(row, "state"),
            attempt: try row.number("attempt"), failures: try row.number("failures"),
            crashes: try row.number("crashes"), idempotencyKey: try row.needText("idempotency_key"),
            inDoubtPolicy: try value(row, "in_doubt"), input: try row.text("input"),
            inputHash: try row.text("input_hash"), output: try row.text("output"), failure: try json(row, "error"),
            progress: try row.text("progress"), nextAttemptAt: try row.timeIfAny("next_attempt_at"),
            deadlineAt: try row.timeIfAny("deadline_at"), startedAt: try row.time("started_at"),
            finishedAt: try row.timeIfAny("finished_at"))
    }
}

extension ResourceRecord {
    init(_ row: some StoredRow, of run: RunID) throws {
        self.init(
            key: ResourceKey(
                idempotencyKey: try row.needText("idempotency_key"), runID: run, name: try row.needText("name"),
                generation: try row.number("generation"), intendedAt: try row.time("intended_at")),
            kind: try row.needText("kind"), scope: try row.needText("scope"), state: try value(row, "state"),
            externalID: try row.text("external_id"), handle: try row.text("details"),
            failures: try row.number("failures"), failure: try json(row, "error"),
            updatedAt: try row.time("updated_at"))
    }
}

extension EventRecord {
    init(_ row: some StoredRow, of run: RunID) throws {
        self.init(
            seq: try row.needInteger("seq"), runID: run, at: try row.time("at"), kind: try row.needText("kind"),
            name: try row.text("step"), attempt: try row.integer("attempt").map { Int($0) },
            payload: try row.text("payload"))
    }
}

func runID(_ text: String) throws -> RunID {
    guard let id = RunID(text) else {
        throw WorkflowError(.storeCorrupt, "the store holds a run with the impossible id '\(text)'")
    }
    return id
}

private func value<T: RawRepresentable>(_ row: some StoredRow, _ column: String) throws -> T
where T.RawValue == String {
    let text = try row.needText(column)
    guard let value = T(rawValue: text) else {
        throw WorkflowError(.storeCorrupt, "the store holds '\(text)' as \(column), which this program does not know")
    }
    return value
}

private func json<T: Decodable>(_ row: some StoredRow, _ column: String) throws -> T? {
    guard let text = try row.text(column) else { return nil }
    do {
        return try Payload.decode(T.self, from: text)
    } catch {
        throw WorkflowError(.storeCorrupt, "the store holds a \(column) that this program cannot read", cause: error)
    }
}
