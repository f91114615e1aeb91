/// Who a store is, and whether its runs are here.
package struct StoreStanding: Sendable, Hashable {
    package enum State: String, Sendable, Hashable {
        /// Its runs are here.
        case open
        /// Nothing is begun here any more; whether somebody is still at work is being found out.
        case closing
        /// Nobody is at work here, and its runs are being copied to another store.
        case moving
        /// Its runs are in another store now.
        case moved
        /// Runs of another store are being copied to it.
        case filling
    }

    /// Made with the store; a copy of its files has the same.
    package let id: String
    /// The stores that its runs were copied from, oldest first.
    package var ancestors: [String] = []
    package var state = State.open
    /// Which copying ``state`` is about.
    package var copy: String?
    /// The other store of it.
    package var peer: String?
    /// What people call that one.
    package var peerName: String?

    package init(
        id: String, ancestors: [String] = [], state: State = .open, copy: String? = nil, peer: String? = nil,
        peerName: String? = nil
    ) {
        self.id = id
        self.ancestors = ancestors
        self.state = state
        self.copy = copy
        self.peer = peer
        self.peerName = peerName
    }

    /// The same store, open, with no copying about it.
    ///
    /// - Parameter other: the one that its runs were copied from.
    func opened(inheriting other: StoreStanding? = nil) -> StoreStanding {
        StoreStanding(id: id, ancestors: other.map { $0.ancestors + [$0.id] } ?? ancestors)
    }

    /// Whether it is this store, or one that its runs came from.
    package func includes(_ id: String) -> Bool { id == self.id || ancestors.contains(id) }

    /// Throws where runs are not to be executed.
    func requireOpen(_ place: String) throws {
        let other = peerName ?? "another store"
        switch state {
        case .open: return
        case .closing, .moving:
            throw WorkflowError(
                .storeMoved,
                "the runs of \(place) are being moved to \(other): let that be finished, or reopen the store to give it up"
            )
        case .moved:
            throw WorkflowError(
                .storeMoved,
                "the runs of \(place) were moved to \(other): name that store; to use this one all the same, reopen it")
        case .filling:
            throw WorkflowError(
                .storeMoved, "runs are being copied to \(place) from \(other): let that be finished first")
        }
    }
}

extension StoreStanding {
    static let columns = "id, ancestors, state, copy, peer, peer_name"

    init(_ row: some StoredRow) throws {
        guard let state = State(rawValue: try row.needText("state")) else {
            throw WorkflowError(.storeCorrupt, "the store says of itself what this program does not know")
        }
        self.init(
            id: try row.needText("id"),
            ancestors: try row.needText("ancestors").split(separator: " ").map(String.init), state: state,
            copy: try row.text("copy"), peer: try row.text("peer"), peerName: try row.text("peer_name"))
    }

    /// What the columns behind the id hold.
    var texts: [String?] { [ancestors.joined(separator: " "), state.rawValue, copy, peer, peerName] }
}

extension WorkflowError {
    /// - Parameter place: with its article.
    static func closed(_ place: String, cause: (any Error)? = nil) -> WorkflowError {
        WorkflowError(
            .storeMoved,
            "\(place) is closed, as its runs went to another store: look where they are, and name that one",
            cause: cause)
    }

    static var noStanding: WorkflowError {
        WorkflowError(.storeCorrupt, "the store has lost the row that says who it is: restore a copy")
    }
}
