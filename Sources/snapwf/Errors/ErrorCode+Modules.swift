import Sandbox
import SnapshotSteps
import Workflow

// What each module's own errors are called where users meet them. The switches have no default, so that a new error is
// named before it is met.

extension ErrorCode {
    static func of(_ code: SnapshotError.Code) -> ErrorCode {
        switch code {
        case .stateDirectory: .stateDirectory
        case .catalogNewerThanProgram: .catalogNewer
        case .catalog: .catalog
        case .snapshotDamaged: .snapshotDamaged
        case .helper: .helper
        case .helperDied: .helperDied
        case .badImage: .badImage
        case .imageNotFound: .imageNotFound
        case .runNotFound: .runNotFound
        case .runUnfinished: .runUnfinished
        case .runQueued: .runQueued
        case .snapshotNotFound: .snapshotNotFound
        case .snapshotInUse: .snapshotInUse
        case .credentials: .credentials
        case .apiCredentials: .apiCredentials
        case .elsewhere: .snapshotNotFound
        case .unavailable: .unavailable
        case .incompatible: .incompatible
        case .missingTool: .missingTool
        case .notPermitted: .notPermitted
        case .notSupported: .notSupported
        case .sandboxFailed: .sandboxFailed
        case .diskFull: .diskFull
        case .sizeTooSmall: .sizeTooSmall
        case .usage: .usage
        case .failed: .failed
        }
    }

    static func of(_ code: SandboxError.Code) -> ErrorCode {
        switch code {
        case .notFound, .ended: .sandboxLost
        case .unavailable, .alreadyExists, .commandTimedOut, .deadlineExceeded, .didNotStart: .unavailable
        case .notPermitted: .notPermitted
        case .credentials: .apiCredentials
        case .incompatible: .incompatible
        case .missingTool: .missingTool
        case .invalidArgument: .usage
        case .unimplemented: .notSupported
        case .outputTooLarge: .failed
        case .outOfSpace: .diskFull
        case .commandFailed, .commandLost, .corrupt, .system: .sandboxFailed
        }
    }

    static func of(_ code: WorkflowError.Code) -> ErrorCode {
        switch code {
        case .interrupted: .interrupted
        case .cancelled: .cancelled
        case .takenOver: .takenOver
        case .runHeld: .runHeld
        case .alreadyFinished: .alreadyFinished
        case .notFinished: .runUnfinished
        case .unknownRun, .noStore: .runNotFound
        case .unknownWorkflow, .versionMismatch, .stepInputChanged: .versionMismatch
        case .inputMismatch, .storeCorrupt: .storeCorrupt
        case .deadlinePassed: .deadlinePassed
        case .inDoubt: .inDoubt
        case .blocked, .resourceUnavailable: .unavailable
        case .storeUnavailable: .storeUnavailable
        case .storeMoved: .storeMoved
        case .storeNotEmpty: .storeNotEmpty
        case .resourceLostTooOften: .sandboxLost
        case .locksNotKept: .locksNotKept
        case .storeNeedsMigration: .storeNeedsMigration
        case .storeNewerThanProgram: .storeNewer
        case .storeNotWritable: .storeNotWritable
        case .storeFull: .diskFull
        case .storeBusy: .storeBusy
        case .storeFailed: .storeFailed
        // Mistakes of a workflow's author, and failures whose cause has a code of its own.
        case .duplicateName, .invalidName, .invalidDuration, .outsideRun, .outsideScope, .outsideStep,
            .payloadTooLarge, .invalidPayload, .runFailed, .diedTooOften, .tooManySignals, .engineClosed:
            .failed
        }
    }
}
