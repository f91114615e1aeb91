import HelperInterface

/// One kind of failure that a user can meet: how programs know it, what it means, what helps.
///
/// The names are part of the interface: they stand in `--json`, in `snapwf help errors` and in the documentation. One that
/// was released is never given another meaning.
struct ErrorCode: Sendable, Hashable {
    /// As in `disk-full`.
    let name: String
    let status: ExitStatus
    let meaning: String
    /// What somebody can do about it, in a sentence.
    let remedy: String
    /// What to type next where nothing nearer is known.
    let next: String?

    private init(_ name: String, _ status: ExitStatus, _ meaning: String, _ remedy: String, next: String? = nil) {
        self.name = name
        self.status = status
        self.meaning = meaning
        self.remedy = remedy
        self.next = next
    }

    static func named(_ name: String) -> ErrorCode? { all.first { $0.name == name } }

    /// By exit status, then by name.
    static let all: [ErrorCode] = [
        .failed, .alreadyFinished, .cancelled, .catalog, .catalogNewer, .deadlinePassed, .diskFull, .helper,
        .helperDied, .locksNotKept, .output, .runHeld, .runQueued, .runUnfinished, .sandboxLost, .snapshotDamaged,
        .snapshotInUse,
        .stateDirectory, .storeCorrupt, .storeFailed, .storeMoved, .storeNeedsMigration, .storeNewer, .storeNotEmpty,
        .storeNotWritable, .takenOver, .versionMismatch, .inDoubt, .imageNotFound, .runNotFound, .snapshotNotFound,
        .apiCredentials, .credentials,
        .badImage, .sizeTooSmall, .incompatible, .missingTool, .notPermitted, .notSupported, .sandboxFailed,
        .storeBusy, .storeUnavailable, .unavailable, .usage, .interrupted,
    ]

    // MARK: 1, failed

    static let failed = ErrorCode(
        "failed", .failed, "Something failed that has no code of its own; the message says what.",
        "Read the message; snapwf doctor looks at everything that a run needs.", next: "snapwf doctor")
    static let alreadyFinished = ErrorCode(
        "already-finished", .failed, "The run has ended, so it cannot be changed or resumed.",
        "Start it again, or look at what it left.", next: "snapwf ls")
    static let cancelled = ErrorCode(
        "cancelled", .failed, "Somebody cancelled the run.", "Start it again if that was not meant.")
    static let catalog = ErrorCode(
        "catalog", .failed, "The catalog of snapshots (catalog.db) cannot be read or written.",
        """
        Restore catalog.db from a backup; or move it away and let snapwf snapshots adopt --all take the snapshots in again.
        """, next: "snapwf doctor")
    static let catalogNewer = ErrorCode(
        "catalog-newer-than-program", .failed,
        "A newer snapwf has written catalog.db; this one does not understand it.",
        "Install that version or a later one, or use another state directory (SNAPWF_HOME).", next: "snapwf --version")
    static let deadlinePassed = ErrorCode(
        "deadline-passed", .failed, "The run took longer than it was given; its sandbox was released.",
        "Start it again, with a longer --timeout if there was one.")
    static let diskFull = ErrorCode(
        "disk-full", .failed, "There is no room left: in the state directory, the sandbox, or where the output goes.",
        "Free some, then run again. snapwf gc --dry-run says what snapwf itself could give back.",
        next: "snapwf gc --dry-run")
    static let helper = ErrorCode(
        "helper", .failed, "The helper (snapshot) is missing beside snapwf, does not start, or is another version.",
        "Install snapwf and its helper together, or name a helper with SNAPWF_HELPER or --snapshot-binary-url.",
        next: "snapwf doctor")
    static let helperDied = ErrorCode(
        "helper-died", .failed, "The helper was killed again and again, most often for want of memory.",
        "Give the sandbox more with --memory, and look in the kernel's log for the one who killed it.")
    static let locksNotKept = ErrorCode(
        "locks-not-kept", .failed, "The file system of the state directory does not keep file locks.",
        "Set SNAPWF_HOME to a directory on a local disk.", next: "export SNAPWF_HOME=DIRECTORY")
    static let output = ErrorCode(
        "output", .failed, "Standard output cannot be written: it is closed, or its disk is full.",
        "The work was done all the same where the message says so; look at it with snapwf show.", next: "snapwf show")
    static let runHeld = ErrorCode(
        "run-held", .failed, "Another process is at work on the run.",
        "Watch it with snapwf logs --follow, or end it with snapwf cancel.", next: "snapwf logs --follow")
    static let runQueued = ErrorCode(
        "run-queued", .failed, "The run belongs to a queue: its workers execute it, and nobody else.",
        "Start a worker for the queue, if none is there, or end the run with snapwf cancel.",
        next: "snapwf worker --queue QUEUE")
    static let runUnfinished = ErrorCode(
        "run-unfinished", .failed, "The run has to end before this can be done.",
        "Resume it, or cancel it; snapwf rm --force does both.", next: "snapwf ls")
    static let sandboxLost = ErrorCode(
        "sandbox-lost", .failed, "The sandbox ended, or its provider forgot it, more often than a run puts up with.",
        "Run again; a longer --ttl helps where sandboxes ran out of time.")
    static let snapshotDamaged = ErrorCode(
        "snapshot-damaged", .failed, "A snapshot's file is not what its record says.",
        "Remove the snapshot and make it again; snapwf snapshots verify --all looks at the others.",
        next: "snapwf snapshots verify --all")
    static let snapshotInUse = ErrorCode(
        "snapshot-in-use", .failed, "Somebody works with the snapshot, or it has a name, so it is not removed.",
        "End what uses it, or take its name away; snapwf snapshots inspect says who and which.",
        next: "snapwf snapshots ls")
    static let stateDirectory = ErrorCode(
        "state-directory", .failed, "The state directory cannot be made, read or written.",
        "Mend its permissions, or set SNAPWF_HOME to another directory.", next: "export SNAPWF_HOME=DIRECTORY")
    static let storeCorrupt = ErrorCode(
        "store-corrupt", .failed,
        "The record of runs (workflow.db, or the shared store) is damaged, or is no database.",
        "Restore it from a backup, or move it away: the snapshots are in the catalog and stay.", next: "snapwf doctor")
    static let storeFailed = ErrorCode(
        "store-failed", .failed,
        "The record of runs (workflow.db, or the shared store) failed, with an I/O error for example.",
        "Look at the disk and the kernel's log, or the server's, then resume the run.", next: "snapwf doctor")
    static let storeMoved = ErrorCode(
        "store-moved", .failed, "The runs of this store were moved to another one, or are being moved.",
        "Name the other store with --store or SNAPWF_STORE. snapwf store reopen takes a move back.",
        next: "snapwf store status, or to give the move up: snapwf store reopen")
    static let storeNeedsMigration = ErrorCode(
        "store-needs-migration", .failed, "An older snapwf has made the store of runs, and this verb only looks.",
        "Any verb that works, as snapwf gc --dry-run, brings it to this version.", next: "snapwf gc --dry-run")
    static let storeNewer = ErrorCode(
        "store-newer-than-program", .failed,
        "A newer snapwf has made the store of runs; this one does not understand it.",
        "Install that version or a later one, or use another state directory (SNAPWF_HOME).", next: "snapwf --version")
    static let storeNotEmpty = ErrorCode(
        "store-not-empty", .failed, "The store that runs are to be moved to has runs already.",
        "Name a new file, database or schema with --to; two stores are not mixed.", next: "snapwf store copy --to PLACE"
    )
    static let storeNotWritable = ErrorCode(
        "store-not-writable", .failed, "The record of runs (workflow.db, or the shared store) cannot be written.",
        """
        Mend the permissions of the state directory, or set SNAPWF_HOME to another one; of a shared store, do what the \
        message says.
        """, next: "snapwf doctor")
    static let takenOver = ErrorCode(
        "taken-over", .failed, "Another process took the run over; this one stopped and changed nothing more.",
        "Watch it with snapwf logs --follow.", next: "snapwf logs --follow")
    static let versionMismatch = ErrorCode(
        "version-mismatch", .failed, "The run was recorded by another version of snapwf, which did other steps.",
        "Resume it with that version, or cancel it and run again.", next: "snapwf --version")

    // MARK: 2, in doubt

    static let inDoubt = ErrorCode(
        "in-doubt", .inDoubt, "Nobody recorded whether a step had its effect, and it may not simply happen twice.",
        "Look outside whether it happened, then say so with snapwf decide, and resume.",
        next: "snapwf resume --plan @last")

    // MARK: 3, not found

    static let imageNotFound = ErrorCode(
        "image-not-found", .notFound, "There is no such image, tag, platform, layout or archive.",
        "Check the spelling and the tag, for example with skopeo list-tags docker://REPOSITORY.",
        next: "skopeo list-tags docker://REPOSITORY")
    static let runNotFound = ErrorCode(
        "run-not-found", .notFound, "No run has that id, or several begin so.",
        "snapwf ls lists them.", next: "snapwf ls")
    static let snapshotNotFound = ErrorCode(
        "snapshot-not-found", .notFound, "The catalog has no such snapshot, or its file is gone.",
        "snapwf snapshots ls lists them; snapwf run makes one.", next: "snapwf snapshots ls")

    // MARK: 4, credentials

    static let apiCredentials = ErrorCode(
        "api-credentials", .credentials, "The Sandbox API wants a token, takes this one no more, or forbids it this.",
        "Set DEPOT_TOKEN (for --sandbox depot) or SNAPWF_TOKEN (for --api), then resume: nothing was lost.",
        next: "export DEPOT_TOKEN=…, for --api SNAPWF_TOKEN=…")
    static let credentials = ErrorCode(
        "credentials", .credentials, "The registry wants credentials, or refuses those it got.",
        "Log in with docker login HOST, or name a file with --creds-file.", next: "docker login HOST")

    // MARK: 5, bad data

    static let badImage = ErrorCode(
        "bad-image", .badImage, "The image or its data contradicts itself, its digests or the specification.",
        "Push or copy the image again; another tool, as skopeo inspect, should complain of the same.",
        next: "skopeo inspect docker://IMAGE")
    static let sizeTooSmall = ErrorCode(
        "size-too-small", .badImage, "--size is less than the content needs.",
        "Give the size that the message names, or leave --size out.")

    // MARK: 6, unavailable

    static let incompatible = ErrorCode(
        "incompatible", .unavailable, "What answers at the API's address is no Sandbox API, or an incompatible one.",
        "Check --api or DEPOT_API_URL.", next: "snapwf doctor")
    static let missingTool = ErrorCode(
        "missing-tool", .unavailable, "A program that sandboxes need is not installed.",
        "Install what the message names: bubblewrap for --sandbox local, QEMU for --sandbox vm.",
        next: "snapwf doctor")
    static let notPermitted = ErrorCode(
        "not-permitted", .unavailable, "The kernel or the provider does not let this user do what a sandbox needs.",
        "snapwf doctor says which permission is missing and how it is given.", next: "snapwf doctor")
    static let notSupported = ErrorCode(
        "not-supported", .unavailable, "The provider cannot do what was asked.",
        "Leave the flag out, or choose another --sandbox.")
    static let sandboxFailed = ErrorCode(
        "sandbox-failed", .unavailable, "A sandbox, or a command in it, failed in a way nobody foresaw.",
        "Run again; snapwf doctor tries a sandbox.", next: "snapwf doctor")
    static let storeBusy = ErrorCode(
        "store-busy", .unavailable, "Another process kept the store of runs locked for too long.",
        "Try again; should it last, look for a snapwf that is stopped.", next: "snapwf ls")
    static let storeUnavailable = ErrorCode(
        "store-unavailable", .unavailable, "The server of the shared store cannot be reached.",
        "See that it runs and can be reached from here, then resume; workers take the runs of queues again. "
            + "Nothing that was committed is lost.",
        next: "snapwf doctor")
    static let unavailable = ErrorCode(
        "unavailable", .unavailable,
        "Something that should answer does not: a registry, an API, the sandbox's provider.",
        "Check the address and the network, then run again.", next: "snapwf doctor")

    // MARK: 64 and 75

    static let usage = ErrorCode(
        "usage", .usage, "The command line is wrong, or asks for what is not possible.",
        "snapwf help VERB says how it is written.", next: "snapwf help")
    static let interrupted = ErrorCode(
        "interrupted", .interrupted, "The run was told to stop; everything done so far is saved.",
        "Resume it.", next: "snapwf resume --all")
}
