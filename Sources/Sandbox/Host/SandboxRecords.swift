/// What was asked for, as it is on disk.
struct SpecRecord: Hashable, Sendable {
    static let title = "snapwf-sandbox 1"

    var id: SandboxID
    var name: String
    var labels: [String: String]
    var createdAt: UnixTime
    var inputs: [ReadOnlyInput]
    var notes: [String]

    var record: Record {
        var record = Record(title: Self.title)
        record.add("id", id)
        record.add("name", name)
        record.add("created", createdAt.milliseconds)
        for (key, value) in labels.sorted(by: { $0.key < $1.key }) { record.add("label." + key, value) }
        for (index, input) in inputs.enumerated() {
            record.add("input.\(index).host", input.hostPath)
            record.add("input.\(index).guest", input.guestPath)
        }
        for (index, note) in notes.enumerated() { record.add("note.\(index)", note) }
        return record
    }

    init(
        id: SandboxID, name: String, labels: [String: String], createdAt: UnixTime, inputs: [ReadOnlyInput],
        notes: [String]
    ) {
        self.id = id
        self.name = name
        self.labels = labels
        self.createdAt = createdAt
        self.inputs = inputs
        self.notes = notes
    }

    init?(_ bytes: [UInt8]) {
        guard let record = Record(bytes, title: Self.title), let id = record["id"], let name = record["name"],
            let created = record.number("created", as: Int64.self)
        else { return nil }
        self.id = SandboxID(id)
        self.name = name
        labels = record.group("label.")
        createdAt = UnixTime(milliseconds: created)
        inputs = []
        while let host = record["input.\(inputs.count).host"], let guest = record["input.\(inputs.count).guest"] {
            inputs.append(ReadOnlyInput(hostPath: host, guestPath: guest))
        }
        notes = []
        while let note = record["note.\(notes.count)"] { notes.append(note) }
    }
}

/// When the time to live ends: on the clock that nobody can set, and for people.
struct Expiry: Hashable, Sendable {
    static let title = "snapwf-expiry 1"
    /// No longer than the lives of machines, so that sums stay in range.
    static let longest = Duration.seconds(3650 * 86400)

    /// Nanoseconds of `CLOCK_BOOTTIME`; means something within one boot, and a sandbox lives no longer.
    var bootNanoseconds: Int64
    var at: UnixTime

    init(after timeToLive: Duration) {
        let bounded = min(max(timeToLive, .zero), Self.longest)
        bootNanoseconds = SteadyClock.nanoseconds() + bounded.wholeMilliseconds * 1_000_000
        at = UnixTime.now().advanced(by: bounded)
    }

    /// How long it still is; negative when it has passed.
    var remaining: Duration {
        .nanoseconds(bootNanoseconds.subtractingReportingOverflow(SteadyClock.nanoseconds()).partialValue)
    }

    var record: Record {
        var record = Record(title: Self.title)
        record.add("boottime", bootNanoseconds)
        record.add("at", at.milliseconds)
        return record
    }

    init?(_ bytes: [UInt8]) {
        guard let record = Record(bytes, title: Self.title), let boot = record.number("boottime", as: Int64.self),
            let at = record.number("at", as: Int64.self)
        else { return nil }
        bootNanoseconds = boot
        self.at = UnixTime(milliseconds: at)
    }
}

/// What the shim tells of its sandbox.
struct StateRecord: Hashable, Sendable {
    static let title = "snapwf-state 1"

    var state: SandboxState
    var shim: ProcessIdentity
    /// The init of the sandbox's pid namespace; known from `running` on.
    var initProcess: ProcessIdentity?

    init(state: SandboxState, shim: ProcessIdentity, initProcess: ProcessIdentity?) {
        self.state = state
        self.shim = shim
        self.initProcess = initProcess
    }

    var record: Record {
        var record = Record(title: Self.title)
        switch state {
        case .starting: record.add("state", "starting")
        case .running: record.add("state", "running")
        case .ended(let reason):
            record.add("state", "ended")
            record.add("reason", reason)
        }
        record.add("boot", shim.bootID)
        record.add("shim.pid", shim.pid)
        record.add("shim.start", shim.startTime)
        if let initProcess {
            record.add("init.pid", initProcess.pid)
            record.add("init.start", initProcess.startTime)
        }
        return record
    }

    init?(_ bytes: [UInt8]) {
        guard let record = Record(bytes, title: Self.title), let boot = record["boot"],
            let pid = record.number("shim.pid", as: Int32.self),
            let start = record.number("shim.start", as: UInt64.self)
        else { return nil }
        switch record["state"] {
        case "starting": state = .starting
        case "running": state = .running
        case "ended": state = .ended(reason: record["reason"] ?? "unknown")
        default: return nil
        }
        shim = ProcessIdentity(pid: pid, startTime: start, bootID: boot)
        if let pid = record.number("init.pid", as: Int32.self),
            let start = record.number("init.start", as: UInt64.self)
        {
            initProcess = ProcessIdentity(pid: pid, startTime: start, bootID: boot)
        }
    }
}
