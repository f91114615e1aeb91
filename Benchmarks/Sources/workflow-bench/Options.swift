/// What to measure, and how much of it.
struct Options {
    static let usage = """
        usage: workflow-bench [--only commits|startup|idle|postgres] [--finished-runs N] [--steps N] [--runs N] [--rounds N]
                              [--idle-seconds N] [--directory DIR] [--dbos PYTHON] [--json FILE|-]
                              [--postgres own|ADDRESS] [--waiting-runs N] [--claims N]

          --only            one group of figures; all without it
          --finished-runs   how many finished runs the store of the start-up figures holds (default 1000000)
          --steps           steps of the sequential run, and commits of the peer (default 2000)
          --runs            how many runs go at once (default 64)
          --rounds          how often peer and engine take turns; the median counts (default 5)
          --idle-seconds    how long the waiting engine is watched (default 10)
          --directory       a directory on the disk to measure (default: the working directory)
          --dbos            a Python that has the package dbos: measured beside the engine
          --postgres        measure a PostgreSQL server, too: one of the distribution's that is started for it, or the one
                            with the address (postgresql://user@host/database), on which databases are made and dropped
          --waiting-runs    how long the queue on PostgreSQL becomes (default 100000)
          --claims          how many runs are enqueued one by one for waiting workers (default 300)
          --json            also write JSON to a file; "-" is standard output, and the text goes to standard error
        """

    var only: String?
    var finishedRuns = 1_000_000
    var steps = 2000
    var runs = 64
    var rounds = 5
    var idleSeconds = 10
    var directory = "."
    var dbosPython: String?
    var json: String?
    var postgres: String?
    var waitingRuns = 100_000
    var claims = 300
    /// The database that this process only opens, to say how much memory that takes.
    var memoryProbe: String?

    init(_ arguments: [String]) throws {
        var rest = arguments[...]
        while let flag = rest.popFirst() {
            guard let value = rest.popFirst() else { throw Usage(message: "\(flag) needs a value") }
            switch flag {
            case "--only":
                guard ["commits", "startup", "idle", "postgres"].contains(value) else {
                    throw Usage(message: "--only takes commits, startup, idle or postgres")
                }
                only = value
            case "--finished-runs": finishedRuns = try Self.number(flag, value, 0...10_000_000)
            case "--steps": steps = try Self.number(flag, value, 1...1_000_000)
            case "--runs": runs = try Self.number(flag, value, 1...10_000)
            case "--rounds": rounds = try Self.number(flag, value, 1...1000)
            case "--idle-seconds": idleSeconds = try Self.number(flag, value, 1...3600)
            case "--directory": directory = value
            case "--dbos": dbosPython = value
            case "--postgres": postgres = value
            case "--waiting-runs": waitingRuns = try Self.number(flag, value, 1...10_000_000)
            case "--claims": claims = try Self.number(flag, value, 1...100_000)
            case "--memory-probe": memoryProbe = value
            case "--json": json = value
            default: throw Usage(message: "unknown option \(flag)")
            }
        }
    }

    func measures(_ group: String) -> Bool { only == nil || only == group }

    private static func number(_ flag: String, _ text: String, _ range: ClosedRange<Int>) throws -> Int {
        guard let number = Int(text), range.contains(number) else {
            throw Usage(message: "\(flag) takes a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }
}

/// The command line makes no sense.
struct Usage: Error {
    let message: String
}
