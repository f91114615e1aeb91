package import Logging
import Synchronization
import Workflow

/// Work that one installation does at a time, as far as it can be told: a row that is renewed thrice in its term, by the
/// clock of the database.
///
/// Whoever was stopped for longer than the term has lost its turn when it goes on. So nothing may hang on a turn but that
/// work is not done twice: what must not happen is kept out by other means.
package final class SharedTurn: Sendable {
    package static let term = Duration.seconds(30)

    private let catalog: SharedCatalog
    private let name: String
    /// Who has it and a word of this turn's own: a holder that was stopped, and has it again elsewhere, is not mistaken.
    private let holder: String
    private let logger: Logger
    private let until: Mutex<ContinuousClock.Instant>
    private let renewal = Mutex<Task<Void, Never>?>(nil)

    fileprivate init(
        _ catalog: SharedCatalog, name: String, holder: String, asked: ContinuousClock.Instant,
        logger: Logger
    ) {
        self.catalog = catalog
        self.name = name
        self.holder = holder
        self.logger = logger
        until = Mutex(asked + Self.term)
    }

    deinit { renewal.withLock { $0?.cancel() } }

    /// Whether nobody else can have the turn. Counts from when the last renewal was asked for, so it is never believed to
    /// last longer than it does.
    package var isHeld: Bool { until.withLock { ContinuousClock.now < $0 } }

    fileprivate func keep() {
        let task = Task { [weak self, catalog, name, holder, logger] in
            while !Task.isCancelled {
                do {
                    try await Task.sleep(for: Self.term / 3 * Double.random(in: 0.8...1.0))
                    let asked = ContinuousClock.now
                    guard try await catalog.renewTurn(name, holder: holder) else { return }
                    self?.until.withLock { $0 = asked + Self.term }
                } catch is CancellationError {
                    return
                } catch {
                    logger.debug("the turn \(name) was not renewed: \(error)")
                }
            }
        }
        renewal.withLock { $0 = task }
    }

    /// Lets the next one have it. One that cannot be let go ends by itself.
    package func end() async {
        let task = renewal.withLock { task in
            defer { task = nil }
            return task
        }
        task?.cancel()
        await task?.value
        do {
            try await catalog.endTurn(name, holder: holder)
        } catch {
            logger.debug("the turn \(name) was not let go and ends by itself: \(error)")
        }
    }
}

extension SharedCatalog {
    package enum TurnAnswer: Sendable {
        case mine(SharedTurn)
        /// What its holder said of itself.
        case held(by: String)
    }

    /// Asks for a turn.
    ///
    /// - Parameters:
    ///   - holder: who has it already gets it again, and ends the earlier turn: a run that is resumed goes on with its own.
    ///     Without a slash.
    ///   - about: for people.
    package func turn(_ name: String, holder: String, about: String, logger: Logger) async throws -> TurnAnswer {
        let asked = ContinuousClock.now
        let term = "\(SharedTurn.term / .milliseconds(1))"
        let own = "\(holder)/\(UInt64.random(in: 0 ... .max))"
        let answers = try await perform([
            .init(
                """
                INSERT INTO shared_turns (name, holder, about, expires_at)
                VALUES ($1, $2, $3, clock_timestamp() + $4::double precision * interval '1 millisecond')
                ON CONFLICT (name) DO UPDATE
                    SET holder = excluded.holder, about = excluded.about, expires_at = excluded.expires_at
                    WHERE shared_turns.expires_at <= clock_timestamp() OR split_part(shared_turns.holder, '/', 1) = $5
                """, [name, own, about, term, holder]),
            .init("SELECT holder, about FROM shared_turns WHERE name = $1", [name]),
        ])
        // Ended between the two statements: the next look tells.
        guard let row = answers[1].first else { return .held(by: "somebody who has just ended") }
        guard row.text("holder") == own else { return .held(by: row.text("about") ?? "somebody") }
        let turn = SharedTurn(self, name: name, holder: own, asked: asked, logger: logger)
        turn.keep()
        return .mine(turn)
    }

    /// Who has a turn now, in words; `nil` when nobody has.
    func holderOfTurn(_ name: String) async throws -> String? {
        try await perform([
            .init("SELECT about FROM shared_turns WHERE name = $1 AND expires_at > clock_timestamp()", [name])
        ])[0].first?.text("about")
    }

    /// - Returns: whether the turn is still the holder's.
    fileprivate func renewTurn(_ name: String, holder: String) async throws -> Bool {
        let term = "\(SharedTurn.term / .milliseconds(1))"
        return try await !perform([
            .init(
                """
                UPDATE shared_turns SET expires_at = clock_timestamp() + $3::double precision * interval '1 millisecond'
                WHERE name = $1 AND holder = $2 RETURNING 1 AS one
                """, [name, holder, term])
        ])[0].isEmpty
    }

    /// Turns of those that died, and that nobody asked for since.
    func forgetOldTurns() async throws {
        _ = try await perform([
            .init(
                """
                DELETE FROM shared_turns WHERE name LIKE 'convert %' AND expires_at < clock_timestamp() - interval '1 day'
                """)
        ])
    }

    fileprivate func endTurn(_ name: String, holder: String) async throws {
        _ = try await perform([.init("DELETE FROM shared_turns WHERE name = $1 AND holder = $2", [name, holder])])
    }
}
