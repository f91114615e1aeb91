import CFaultVFS
import Foundation

/// The disk under the SQLite databases of one directory: it counts the calls that SQLite makes, lets chosen ones fail,
/// and knows what would be left of the files if the power went now.
///
/// Attach it before anything in the directory is opened. SQLite's files elsewhere are not affected; neither are other
/// files in the directory, such as the engine's lock files.
///
/// ```swift
/// let disk = try FaultyDisk(store.directory)
/// disk.failCall(3, of: [.write], with: .full)
/// ```
///
/// It stands in for SQLite's default VFS in this process. A connection that names a VFS by itself is not seen.
public final class FaultyDisk: Sendable {
    /// What SQLite asks of a file.
    public enum Call: Int, CaseIterable, Sendable {
        /// Open it.
        case open
        /// Close it.
        case close
        /// Read from it.
        case read
        /// Write to it.
        case write
        /// Cut it off at a size.
        case truncate
        /// Make it durable.
        case sync
        /// Tell its size.
        case fileSize
        /// Take a lock on the database.
        case lock
        /// Let go of a lock on the database.
        case unlock
        /// Tell whether somebody is about to write the database.
        case checkReservedLock
        /// Map the index of the write-ahead log.
        case shmMap
        /// Take a lock of the write-ahead log.
        case shmLock
        /// Let go of a lock of the write-ahead log.
        case shmUnlock
        /// Order memory.
        case shmBarrier
        /// Let go of the index of the write-ahead log.
        case shmUnmap
        /// Delete it.
        case delete
        /// Tell whether it exists.
        case access

        /// All calls whose failure SQLite looks at: letting go of something cannot be refused.
        public static let failing = Set(allCases).subtracting([.close, .unlock, .shmUnlock, .shmBarrier, .shmUnmap])
    }

    /// Which of a database's files.
    public enum File: Int, CaseIterable, Sendable {
        /// The database itself.
        case database
        /// The write-ahead log, `-wal`.
        case log
        /// The rollback journal, `-journal`; used while a new database is switched to the write-ahead log.
        case journal
        /// The index of the write-ahead log in shared memory, `-shm`. It is never durable.
        case sharedMemory
    }

    /// How a call fails.
    public enum Fault: Int, CaseIterable, Sendable {
        /// With the I/O error (`SQLITE_IOERR_…`, `SQLITE_CANTOPEN`) that fits the call. A write gets half-way. After a
        /// sync that failed no later one makes durable what was written before it, as on Linux.
        case ioError
        /// With `SQLITE_FULL`, which only writes can give in truth. A write gets half-way.
        case full
        /// With `SQLITE_BUSY`, which only locks can give in truth.
        case busy
    }

    /// How many calls there were since the disk was attached.
    public struct Counts: Sendable {
        fileprivate var calls: [[Int]]
        /// How many calls were made to fail.
        public fileprivate(set) var failed: Int

        /// How many calls of one kind there were, on one file or on all.
        public subscript(_ call: Call, on file: File? = nil) -> Int {
            if let file { return calls[file.rawValue][call.rawValue] }
            return calls.reduce(0) { $0 + $1[call.rawValue] }
        }

        /// How many calls of some kinds there were on all files.
        public subscript(_ calls: Set<Call>) -> Int { calls.reduce(0) { $0 + self[$1] } }
    }

    /// The directory, without symbolic links.
    public let directory: String
    /// Files that were there before, in case SQLite never opens them.
    let earlierFiles: Set<String>
    // Every function that takes it locks it.
    nonisolated(unsafe) let disk: OpaquePointer

    /// Attaches a disk to a directory. Nothing in it may be open.
    ///
    /// - Throws: `CocoaError` if the directory cannot be read.
    public init(_ directory: String) throws {
        let resolved = URL(fileURLWithPath: directory).resolvingSymlinksInPath().path
        earlierFiles = Set(try FileManager.default.subpathsOfDirectory(atPath: resolved))
        guard let disk = cfault_attach(resolved) else { throw CocoaError(.featureUnsupported) }
        self.directory = resolved
        self.disk = disk
    }

    deinit {
        cfault_release(disk)
    }

    /// Ends counting and failing. Files that are open stay usable.
    public func detach() {
        cfault_detach(disk)
    }

    /// How many calls there were.
    public var counts: Counts {
        var counts = Counts(calls: [], failed: Int(cfault_failed_count(disk)))
        for file in File.allCases {
            counts.calls.append(Call.allCases.map { Int(cfault_count(disk, file.value, $0.value)) })
        }
        return counts
    }

    // MARK: - Faults

    /// Lets a call fail. It takes the place of what was asked for before.
    ///
    /// - Parameters:
    ///   - position: which of the calls described by the other parameters, counted from now, from 1.
    ///   - calls: which calls are counted and fail.
    ///   - file: on which file; on every one when `nil`.
    ///   - fault: how it fails.
    ///   - persistently: whether all calls after it fail as well.
    public func failCall(
        _ position: Int, of calls: Set<Call> = Call.failing, on file: File? = nil, with fault: Fault = .ioError,
        persistently: Bool = false
    ) {
        cfault_fail(disk, plan(position, calls, file), fault.value, persistently)
    }

    /// Lets nothing fail any more.
    public func heal() {
        cfault_fail(disk, cfault_plan(), CFAULT_IO_ERROR, false)
    }

    // MARK: - Slowness

    /// Makes each sync take so much longer from now on, at most a minute.
    ///
    /// What is measured of a quick disk depends on what else the machine does; on a slow one all that can wait together
    /// does.
    public func slowSyncs(by delay: Duration) {
        let delay = min(max(delay, .zero), .seconds(60))
        cfault_slow_syncs(disk, delay.components.seconds * 1_000_000 + delay.components.attoseconds / 1_000_000_000_000)
    }

    // MARK: - Power

    /// Whether the power is still there. What happens without it happens to nobody: see ``cutPower(seed:)``.
    public var hasPower: Bool { cfault_has_power(disk) }

    /// Cuts the power now. What is on the disk in this moment stays for ``cutPower(seed:)`` to look at.
    public func cutPower() {
        cfault_cut(disk)
    }

    /// Cuts the power right before a call, which the disk does not get to see.
    ///
    /// - Parameters:
    ///   - position: which of the calls described by the other parameters, counted from now, from 1.
    ///   - calls: which calls are counted.
    ///   - file: on which file; on every one when `nil`.
    public func cutPower(
        beforeCall position: Int, of calls: Set<Call> = [.write, .truncate, .sync, .delete], on file: File? = nil
    ) {
        cfault_plan_cut(disk, plan(position, calls, file))
    }

    private func plan(_ position: Int, _ calls: Set<Call>, _ file: File?) -> cfault_plan {
        let files = file.map { [$0] } ?? File.allCases
        return cfault_plan(
            calls: calls.reduce(0) { $0 | 1 << $1.value.rawValue },
            roles: files.reduce(0) { $0 | 1 << $1.value.rawValue }, position: Int64(max(position, 1)))
    }
}

extension FaultyDisk.Call {
    fileprivate var value: cfault_call {
        switch self {
        case .open: CFAULT_OPEN
        case .close: CFAULT_CLOSE
        case .read: CFAULT_READ
        case .write: CFAULT_WRITE
        case .truncate: CFAULT_TRUNCATE
        case .sync: CFAULT_SYNC
        case .fileSize: CFAULT_FILE_SIZE
        case .lock: CFAULT_LOCK
        case .unlock: CFAULT_UNLOCK
        case .checkReservedLock: CFAULT_CHECK_RESERVED_LOCK
        case .shmMap: CFAULT_SHM_MAP
        case .shmLock: CFAULT_SHM_LOCK
        case .shmUnlock: CFAULT_SHM_UNLOCK
        case .shmBarrier: CFAULT_SHM_BARRIER
        case .shmUnmap: CFAULT_SHM_UNMAP
        case .delete: CFAULT_DELETE
        case .access: CFAULT_ACCESS
        }
    }
}

extension FaultyDisk.File {
    fileprivate var value: cfault_role {
        switch self {
        case .database: CFAULT_DATABASE
        case .log: CFAULT_LOG
        case .journal: CFAULT_JOURNAL
        case .sharedMemory: CFAULT_SHARED_MEMORY
        }
    }
}

extension FaultyDisk.Fault {
    fileprivate var value: cfault_error {
        switch self {
        case .ioError: CFAULT_IO_ERROR
        case .full: CFAULT_FULL
        case .busy: CFAULT_BUSY
        }
    }
}
