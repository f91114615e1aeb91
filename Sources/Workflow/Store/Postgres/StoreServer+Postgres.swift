import Foundation

extension StoreServer {
    init(_ connection: PostgresConnection) throws {
        // Of three questions the quickest says most of the clock.
        var best: (wait: Double, ahead: Double)?
        for _ in 0..<3 {
            let began = Date()
            let answer = try connection.run("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now")
            let wait = -began.timeIntervalSinceNow
            guard let row = answer.first else { continue }
            let ahead = Double(try row.needInteger("now")) / 1000 - (began.timeIntervalSince1970 + wait / 2)
            if wait < best?.wait ?? .infinity { best = (wait, ahead) }
        }
        let answer = try connection.run(
            """
            SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS follows,
                inet_server_addr() IS NULL AS by_socket,
                (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl) AS tls,
                (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming') AS standbys,
                (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS synchronous
            """)
        guard let row = answer.first else { throw PostgresError.lost("the server does not know itself") }
        let transport: Transport
        if let tls = try row.text("tls") {
            transport = .encrypted(tls)
        } else {
            transport = try row.flag("by_socket") ? .socket : .plain
        }
        self.init(
            version: try row.needText("version").split(separator: " ").first.map(String.init) ?? "?",
            transport: transport, clockAhead: best?.ahead ?? 0, isPrimary: try !row.flag("follows"),
            standbys: Int(try row.needInteger("standbys")), synchronousStandbys: Int(try row.needInteger("synchronous"))
        )
    }
}

extension PostgresReading {
    func figures() async throws -> StoreFigures {
        try await reader.read { connection in
            var figures = StoreFigures()
            let counts = try connection.run(
                """
                SELECT status, finished_at IS NULL AND EXISTS (
                    SELECT 1 FROM leases WHERE run_id = runs.id AND expires_at > clock_timestamp()) AS held,
                    count(*) AS number
                FROM runs GROUP BY 1, 2
                """)
            for row in counts.rows {
                guard let status = RunStatus(rawValue: try row.needText("status")) else { continue }
                figures.add(Int(try row.needInteger("number")), status, isHeld: try row.flag("held"))
            }
            let tables = CopiedTable.allCases.map { "pg_total_relation_size('\($0.rawValue)')" }
            let answer = try connection.run("SELECT \(tables.joined(separator: " + ")) AS bytes")
            figures.bytes = try answer.first?.integer("bytes") ?? 0
            return figures
        }
    }

    func census(ofQueue queue: String) async throws -> [QueueCensus] {
        try await reader.read { connection in
            let groups = try connection.run(
                """
                WITH clock AS (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms),
                standing AS (
                    SELECT workflow, version, cancel_requested_at, wake_at IS NULL OR wake_at <= ms AS is_due,
                        wake_at > ms AS is_later, false AS is_parked,
                        ms - greatest(created_at, coalesce(wake_at, 0)) AS age
                    FROM runs, clock
                    WHERE queue = $1 AND status = 'pending' AND rest IS DISTINCT FROM 'parked'
                    UNION ALL
                    SELECT workflow, version, cancel_requested_at,
                        rest IS DISTINCT FROM 'parked' AND NOT EXISTS (
                            SELECT 1 FROM leases WHERE run_id = runs.id AND expires_at > clock_timestamp()),
                        false, rest IS NOT DISTINCT FROM 'parked', NULL
                    FROM runs
                    WHERE queue = $1 AND (
                        status IN ('running', 'sleeping') OR (status = 'pending' AND rest = 'parked')))
                SELECT workflow, version, cancel_requested_at IS NOT NULL AS is_ending,
                    count(*) FILTER (WHERE is_due) AS due, count(*) FILTER (WHERE is_later) AS later,
                    count(*) FILTER (WHERE is_parked) AS parked, max(age) FILTER (WHERE is_due) AS oldest
                FROM standing GROUP BY 1, 2, 3
                """, [queue])
            return try groups.rows.map { row in
                QueueCensus(
                    workflow: KnownWorkflow(
                        name: try row.needText("workflow"), version: Int(try row.needInteger("version"))),
                    isEnding: try row.flag("is_ending"), due: Int(try row.needInteger("due")),
                    later: Int(try row.needInteger("later")), parked: Int(try row.needInteger("parked")),
                    oldest: try row.integer("oldest"))
            }
        }
    }
}
