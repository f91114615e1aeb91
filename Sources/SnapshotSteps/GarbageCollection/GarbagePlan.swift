package import Sandbox
package import Workflow

/// What garbage collection would remove, and why.
package struct GarbagePlan: Sendable {
    package struct Item: Sendable, Identifiable {
        package enum Subject: Sendable {
            /// A sandbox of ours. The run is nil when its label is no run id at all.
            case sandbox(SandboxID, at: SandboxPlace, run: RunID?)
            /// An entry of the ledger whose sandbox is gone already.
            case ledgerEntry(ResourceRecord, at: SandboxPlace)
            /// A directory of the store that no registration will finish.
            case directory(Catalog.UnregisteredDirectory)
            /// A snapshot that is to be kept no longer.
            case snapshot(Snapshot)
        }

        package let id: String
        package let subject: Subject
        package let reason: String
    }

    /// What is ours and stays.
    package struct Kept: Sendable {
        package enum Kind: String, Sendable { case sandbox, directory, snapshot }

        package let kind: Kind
        package let id: String
        package let reason: String
    }

    package var items: [Item] = []
    package var kept: [Kept] = []
    /// Places elsewhere that were seen whole and hold nothing of ours.
    package var idle: [SandboxPlace] = []
    /// Places that could not be looked at: nothing of theirs is touched.
    package var unseen: [UnseenPlace] = []
}

/// A place whose sandboxes could not all be listed.
package struct UnseenPlace: Sendable {
    package let place: SandboxPlace
    package let error: SnapshotError
}

/// What became of one item.
package struct GarbageOutcome: Sendable {
    package enum Result: Sendable, Equatable {
        case removed
        /// A second look found it in use.
        case spared(String)
        case failed(String)
    }

    package let item: GarbagePlan.Item
    package let result: Result
}

/// Which run a sandbox or directory belongs to, and what that means for it. Pure: tests drive it with values.
enum Verdict: Equatable {
    case keep(String)
    case remove(String)

    /// - Parameters:
    ///   - run: nil when this store knows no such run.
    ///   - isClaimed: whether this process holds the run itself, to collect what it left.
    ///   - now, grace: in milliseconds; a run interrupted for less than the grace may still be resumed by somebody.
    init(run: RunRecord?, isClaimed: Bool = false, now: Int64, grace: Int64) {
        guard let run else {
            self = .remove("its run is unknown here")
            return
        }
        let status = isClaimed && !run.recordedStatus.isFinished ? .interrupted : run.status
        switch status {
        case .succeeded, .failed, .cancelled:
            self = .remove("its run \(status.rawValue)")
        case .pending, .interrupted:
            // Whenever a worker comes, it goes on in the same sandbox; until then that has its time to live.
            if let queueing = run.queueing, !queueing.isParked {
                self = .keep("its run waits for a worker, in queue \"\(queueing.queue)\"")
                return
            }
            let idle = now - milliseconds(run.updatedAt)
            self =
                idle >= grace
                ? .remove("its run was interrupted \(max(idle, 0) / 1000) s ago")
                : .keep("its run was interrupted only \(max(idle, 0) / 1000) s ago")
        case .running, .sleeping:
            self = .keep("its run is alive")
        }
    }
}
