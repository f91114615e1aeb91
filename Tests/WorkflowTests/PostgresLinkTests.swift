import Foundation
import class TestSupport.TestPostgres
import Testing
import WorkflowTesting

@testable import Workflow

@Suite("Connections to PostgreSQL", .onPostgres)
struct PostgresLinkTests {
    private static let script = Script { _, run in try await run.step("one") { _ in 1 } }

    @Test("what decides is read where it can be written; what is only shown, anywhere")
    func whereToRead() async throws {
        try await TestStore.use(.postgres) { store in
            // So a standby looks to libpq, too.
            let address = PostgresAddress(store.address + "%20-cdefault_transaction_read_only%3Don")
            let shown = try PostgresReader(store.configuration, address, isOnlyShown: true)
            #expect(try await shown.read { try $0.run("SELECT 1 AS one").count } == 1)
            await shown.close()
            let deciding = try PostgresReader(store.configuration, address)
            #expect(
                await code { _ = try await deciding.read { try $0.run("SELECT 1 AS one").count } } == .storeUnavailable)
            await deciding.close()
        }
    }

    @Test("what is only shown is read from the primary, and from a standby where none answers")
    func primaryFirst() async throws {
        let primary = try TestPostgres()
        defer { primary.stop() }
        try await primary.start()
        let standby = try TestPostgres(standbyOf: primary)
        defer { standby.stop() }
        try await standby.start()
        let hosts = [standby.directory, primary.directory].joined(separator: ",")
        let text = "postgresql:///postgres?host=\(hosts)&port=\(primary.port)&user=postgres"
        func isStandby() async throws -> String? {
            let reader = try PostgresReader(.postgres(text), PostgresAddress(text), isOnlyShown: true)
            let answer = try await reader.read {
                try $0.run("SELECT pg_is_in_recovery()::text AS answer").first?.text("answer")
            }
            await reader.close()
            return answer
        }
        #expect(try await isStandby() == "false")
        try await primary.kill()
        #expect(try await isStandby() == "true")
    }

    @Test("a server that refuses is told by what it refuses, in whatever language it speaks")
    func refusals() async throws {
        let server = try TestPostgres()
        defer { server.stop() }
        try await server.start()
        try server.run("CREATE ROLE narrow LOGIN CONNECTION LIMIT 0")
        func refusal(_ database: String = "postgres", user: String = "postgres") async throws -> WorkflowError? {
            let text = "postgresql:///\(database)?host=\(server.directory)&port=\(server.port)&user=\(user)"
            let link = try PostgresLink(.postgres(text), PostgresAddress(text), for: .reading)
            return #expect(throws: WorkflowError.self) { try link.connected() }
        }
        let refusals = [
            ("is not there, though its server is", try await refusal("nowhere")),
            ("does not let the role in from here", try await refusal(user: "nobody")),
            ("has no connection left", try await refusal(user: "narrow")),
        ]
        for (words, error) in refusals {
            #expect(error?.code == .storeUnavailable && error?.message.contains(words) == true, "\(error as Any)")
        }
        try await server.kill()
        let gone = try await refusal()
        #expect(gone?.message.contains("cannot be reached") == true, "\(gone as Any)")
    }

    @Test("a server that lets everybody in and finishes nothing is asked no longer than one that is away")
    func vainConnections() async throws {
        try await TestStore.use(.postgres) { store in
            var configuration = store.configuration
            configuration.reconnectTimeout = .milliseconds(300)
            let link = try PostgresLink(configuration, PostgresAddress(store.address), for: .reading)
            _ = try link.connected()
            link.drop()
            #expect(link.mayTryAgain(after: 0) && link.mayTryAgain(after: 3) && !link.mayTryAgain(after: 20))
            try await Task.sleep(for: .milliseconds(400))
            _ = try link.connected()
            #expect(link.mayTryAgain(after: 0) && !link.mayTryAgain(after: 1), "that it lets in is not enough")
            link.worked()
            #expect(link.mayTryAgain(after: 1))
        }
    }

    @Test("a renewal is given up while there is time for another one before the lease ends")
    func patienceOfLeases() async throws {
        try await TestStore.use(.postgres) { store in
            var configuration = store.configuration
            configuration.leaseTerm = .seconds(30)
            let address = PostgresAddress(store.address)
            func settings(_ purpose: PostgresLink.Purpose) throws -> [String?] {
                let link = try PostgresLink(configuration, address, for: purpose)
                let row = try link.connected().run(
                    """
                    SELECT current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock
                    """
                ).first
                return [try row?.text("statement"), try row?.text("lock")]
            }
            let long = try settings(.leases)
            #expect(long == ["5s", "3s"])
            configuration.leaseTerm = .seconds(2)
            let short = try settings(.leases)
            #expect(short == ["1s", "200ms"])
            let writing = try settings(.writing)
            #expect(writing[0] != "1s")
        }
    }

    @Test("what changes every row may take longer than a statement mostly may")
    func unhurried() async throws {
        try await TestStore.use(.postgres) { store in
            let connection = try PostgresConnection(
                PostgresAddress(store.address), patience: .milliseconds(300), attributes: "any")
            try connection.script("SET statement_timeout = 200")
            let slow = PostgresQuery("SELECT pg_sleep(0.5)")
            let results = try connection.pipeline([
                PostgresQuery("BEGIN"), .unhurried, slow, PostgresQuery("COMMIT"),
            ])
            for result in results { _ = try result.get() }
            #expect(throws: PostgresError.self) { _ = try connection.pipeline([slow]).map { try $0.get() } }
        }
    }

    /// A commit whose answer is lost, while the server is said to have that transaction still in hand.
    ///
    /// - Parameter tries: how often it is.
    private static func doubt(tries: Int) async throws -> (result: Result<Int, any Error>, asked: Int) {
        try await TestStore.use(.postgres) { store in
            let proxy = try CuttingProxy(before: try await TestPostgres.shared.value, in: store.directory)
            var configuration = StoreConfiguration.postgres(proxy.address(schema: store.schema))
            configuration.reconnectTimeout = .seconds(1)
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            try store.run("CREATE SEQUENCE asked")
            try store.run(
                """
                CREATE FUNCTION keep_waiting() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF nextval('asked') <= \(tries) THEN
                        RAISE EXCEPTION 'locked' USING ERRCODE = '55P03';
                    END IF;
                    RETURN new;
                END
                $$
                """)
            try store.run(
                """
                CREATE TRIGGER keep_waiting BEFORE INSERT ON writers FOR EACH ROW WHEN (new.commits = 0)
                EXECUTE FUNCTION keep_waiting()
                """)
            proxy.cutNext(.afterCommit)
            var result: Result<Int, any Error>
            do {
                result = .success(try await engine.start(script, input: "").result())
            } catch {
                result = .failure(error)
            }
            let asked = try store.run("SELECT last_value AS n FROM asked")[0]["n"].flatMap { Int($0) } ?? 0
            await engine.shutdown()
            proxy.close()
            return (result, asked)
        }
    }

    @Test("a transaction that the server still has in hand is waited for, and then its outcome is known")
    func doubtWaits() async throws {
        let (result, asked) = try await Self.doubt(tries: 3)
        #expect(try result.get() == 1)
        #expect(asked == 4)
    }

    @Test("one that stays in hand is reported as what it is: nobody knows whether it was committed")
    func doubtStays() async throws {
        let (result, asked) = try await Self.doubt(tries: 1_000_000)
        #expect(asked > 3)
        guard case .failure(let error as WorkflowError) = result else {
            Issue.record("it was answered: \(result)")
            return
        }
        #expect(error.code == .storeUnavailable && "\(error)".contains("not known whether"), "\(error)")
    }

    @Test("a lease that was given up is not taken for a new one before it is gone from the database")
    func givenUp() throws {
        let keeper = try LeaseKeeper(
            .postgres("postgresql://127.0.0.1:1/none"), PostgresAddress("postgresql://127.0.0.1:1/none"), owner: "")
        let id = RunID(time: Date())
        #expect(keeper.isNew(id, epoch: 3))
        keeper.stop()
        keeper.remove(id, epoch: 3)
        #expect(!keeper.isNew(id, epoch: 3) && keeper.isNew(id, epoch: 4))
        keeper.forget(id, epoch: 2)
        #expect(!keeper.isNew(id, epoch: 3))
        keeper.forget(id, epoch: 3)
        #expect(keeper.isNew(id, epoch: 3))
    }

    @Test("leases that nobody let go of are removed when their runs have ended long ago, and no others")
    func oldLeases() async throws {
        try await TestStore.use(.postgres) { store in
            let engine = try await Engine(store: store.configuration, configuration: testConfiguration())
            var ids: [RunID] = []
            for _ in 0..<2 {
                let handle = try await engine.start(Self.script, input: "")
                _ = try await handle.result()
                ids.append(handle.id)
            }
            await engine.shutdown()
            for (id, days) in [("\(ids[0])", 8), ("\(ids[1])", 6), ("of no run", 8)] {
                try store.run(
                    """
                    INSERT INTO leases (run_id, owner, epoch, expires_at)
                    VALUES ('\(id)', gen_random_uuid(), 1, now() - interval '\(days) days')
                    """)
            }
            await (try await store.open()).close()
            let left = try store.run("SELECT run_id FROM leases").compactMap { $0["run_id"] }
            #expect(Set(left) == ["\(ids[1])", "of no run"])
        }
    }
}
