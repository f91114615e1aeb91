import Foundation
import GRDB

/// Rows as records. A row that holds what this program never writes is an error, not a guess.
extension RunRecord {
    static let columns = """
        id, workflow, version, status, input, input_hash, dedup_key, epoch, owner, wake_at, deadline_at,
        cancel_requested_at, output, error, labels, created_at, updated_at, finished_at
        """

    /// - Parameter isHeld: whether somebody holds the run; asked only for runs that are not finished.
    init(_ row: Row, isHeld: (RunID) -> Bool) throws {
        let id = try runID(row["id"])
        let recorded: RunStatus = try value(row, "status")
        let isInterrupted = !recorded.isFinished && !isHeld(id)
        self.init(
            id: id, workflow: row["workflow"], version: row["version"],
            status: isInterrupted ? .interrupted : recorded, recordedStatus: recorded,
            input: row["input"], inputHash: row["input_hash"], dedupKey: row["dedup_key"], epoch: row["epoch"],
            owner: try json(row, "owner"), wakeAt: date(row["wake_at"]),
            deadlineAt: date(row["deadline_at"]),
            cancelRequestedAt: date(row["cancel_requested_at"]), output: row["output"],
            failure: try json(row, "error"), labels: try json(row, "labels") ?? [:],
            createdAt: Timestamp(milliseconds: row["created_at"]).date,
            updatedAt: Timestamp(milliseconds: row["updated_at"]).date, finishedAt: date(row["finished_at"]))
    }
}

extension StepRecord {
    init(_ row: Row, of run: RunID) throws {
        self.init(
            runID: run, name: row["key"], kind: try value(row, "kind"),
            scope: row["scope"], generation: row["generation"], state: try value(row, "state"),
            attempt: row["attempt"], failures: row["failures"], crashes: row["crashes"],
            idempotencyKey: row["idempotency_key"], inDoubtPolicy: try value(row, "in_doubt"),
            input: row["input"], inputHash: row["input_hash"], output: row["output"],
            failure: try json(row, "error"), progress: row["progress"], nextAttemptAt: date(row["next_attempt_at"]),
            deadlineAt: date(row["deadline_at"]), startedAt: Timestamp(milliseconds: row["started_at"]).date,
            finishedAt: date(row["finished_at"]))
    }
}

extension ResourceRecord {
    init(_ row: Row, of run: RunID) throws {
        self.init(
            key: ResourceKey(
                idempotencyKey: row["idempotency_key"], runID: run, name: row["name"],
                generation: row["generation"], intendedAt: Timestamp(milliseconds: row["intended_at"]).date),
            kind: row["kind"], scope: row["scope"], state: try value(row, "state"), externalID: row["external_id"],
            handle: row["details"], failures: row["failures"], failure: try json(row, "error"),
            updatedAt: Timestamp(milliseconds: row["updated_at"]).date)
    }
}

extension EventRecord {
    init(_ row: Row, of run: RunID) {
        self.init(
            seq: row["seq"], runID: run, at: Timestamp(milliseconds: row["at"]).date,
            kind: row["kind"], name: row["step"], attempt: row["attempt"], payload: row["payload"])
    }
}

func runID(_ text: String) throws -> RunID {
    guard let id = RunID(text) else {
        throw WorkflowError(.storeCorrupt, "the store holds a run with the impossible id '\(text)'")
    }
    return id
}

private func value<T: RawRepresentable>(_ row: Row, _ column: String) throws -> T where T.RawValue == String {
    let text: String = row[column]
    guard let value = T(rawValue: text) else {
        throw WorkflowError(.storeCorrupt, "the store holds '\(text)' as \(column), which this program does not know")
    }
    return value
}

private func json<T: Decodable>(_ row: Row, _ column: String) throws -> T? {
    guard let text: String = row[column] else { return nil }
    do {
        return try Payload.decode(T.self, from: text)
    } catch {
        throw WorkflowError(.storeCorrupt, "the store holds a \(column) that this program cannot read", cause: error)
    }
}

private func date(_ milliseconds: Int64?) -> Date? {
    milliseconds.map { Timestamp(milliseconds: $0).date }
}
