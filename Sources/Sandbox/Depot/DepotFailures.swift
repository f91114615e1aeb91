import Connect
import SandboxAPI
import SwiftProtobuf

/// What kind of call failed: the same code of the API means different things for them.
enum DepotCall: Sendable {
    case sandbox
    case command
    case reading
    case writing

    /// What `not_found` means where the sandbox itself is there.
    var missing: SandboxError.Code {
        switch self {
        case .sandbox: .unavailable
        case .command: .missingTool
        case .reading: .notFound
        case .writing: .commandFailed
        }
    }

    /// What `failed_precondition` means where the sandbox runs.
    var refused: SandboxError.Code {
        switch self {
        case .sandbox, .command: .unavailable
        case .reading, .writing: .commandFailed
        }
    }
}

extension DepotProvider {
    /// How long after its commands a sandbox that is being ended may still say that it runs.
    private static let endingTime = Duration.milliseconds(500)

    /// An error of the API in this module's terms, as far as its code tells; what it means for a sandbox, only
    /// ``failure(_:_:_:in:)`` finds out.
    func translated(_ error: ConnectError, _ what: String) -> SandboxError {
        let start = "cannot \(what) through the API at \(address)"
        let said = error.message.isEmpty ? error.code.rawValue : "\(error.message) (\(error.code.rawValue))"
        let inDoubt = mayHaveHappened(error)
        // A page that tells of a server's own trouble passes.
        if error.isNotConnect, (error.httpStatus ?? 0) < 500, error.code != .unavailable {
            return incompatible(error, start, said)
        }
        if error.isUntrusted {
            return SandboxError(
                .incompatible,
                "\(start): \(error.message): if a CA of your own signed it, name that CA's certificate "
                    + "(\(configuration.caSource))", cause: error)
        }
        switch error.code {
        case .unauthenticated:
            let advice =
                configuration.token != nil
                ? "the token is not accepted; give a valid one (\(configuration.tokenSource))"
                : "it wants a token; give one (\(configuration.tokenSource))"
            return SandboxError(.credentials, "\(start): \(advice); it says: \(said)", cause: error)
        case .permissionDenied:
            let advice =
                configuration.organization.map { "the token may not do this in organisation \($0); check --org" }
                ?? "the token may not do this; one that belongs to an organisation needs --org (or DEPOT_ORG_ID)"
            return SandboxError(.credentials, "\(start): \(advice); it says: \(said)", cause: error)
        case .unimplemented:
            return SandboxError(.unimplemented, "\(start): it does not offer this; it says: \(said)", cause: error)
        case .invalidArgument, .outOfRange:
            return SandboxError(.invalidArgument, "\(start): it refuses the request: \(said)", cause: error)
        case .notFound: return SandboxError(.notFound, "\(start): \(said)", cause: error)
        case .alreadyExists: return SandboxError(.alreadyExists, "\(start): \(said)", cause: error, isInDoubt: true)
        case .failedPrecondition: return SandboxError(.commandFailed, "\(start): \(said)", cause: error)
        case .canceled, .unknown, .deadlineExceeded, .resourceExhausted, .aborted, .internal, .unavailable, .dataLoss:
            return SandboxError(.unavailable, "\(start): \(said); try again", cause: error, isInDoubt: inDoubt)
        }
    }

    private func incompatible(_ error: ConnectError, _ start: String, _ said: String) -> SandboxError {
        switch error.code {
        // Whoever stands before the API may refuse without speaking its protocol.
        case .unauthenticated, .permissionDenied:
            SandboxError(.credentials, "\(start): access is refused; check the token and the address: \(said)")
        default:
            SandboxError(
                .incompatible,
                "\(start): what answers there is no Sandbox API, or too old a version of it (\(said)); check --api or "
                    + "DEPOT_API_URL", cause: error, isInDoubt: mayHaveHappened(error)
            )
        }
    }

    /// Whether an effect has to be looked for before the call is made again.
    func mayHaveHappened(_ error: ConnectError) -> Bool {
        if error.isAmbiguous { return true }
        switch error.code {
        case .canceled, .unknown, .deadlineExceeded, .internal, .dataLoss: return true
        // The client says of each whether anything had left; the others were refused.
        default: return false
        }
    }

    /// What an error of a call in a sandbox means: where it can be that the sandbox is over, the API is asked.
    func failure(_ error: any Error, _ what: String, _ call: DepotCall, in id: SandboxID) async -> any Error {
        if Task.isCancelled { return CancellationError() }
        let mapped: SandboxError
        switch error {
        case let error as ConnectError:
            if let detail = fileDetail(error) { return fileFailure(detail, error, what, call, in: id) }
            mapped = translated(error, "\(what) in sandbox \(id)")
        case let error as SandboxError:
            mapped = SandboxError(
                error.code, "cannot \(what) in sandbox \(id): \(error.message)", cause: error.cause,
                isInDoubt: error.isInDoubt
            )
        default: return error
        }
        let code = (error as? ConnectError)?.code
        let asks = code == .notFound || code == .failedPrecondition || code == .aborted || mapped.isInDoubt
        guard asks else { return mapped }
        do {
            guard var info = try await get(id) else { return unknown(id) }
            if code == .failedPrecondition, info.state.isAlive {
                // Of one that is just being ended, a command may tell before the sandbox does.
                try await Task.sleep(for: Self.endingTime)
                guard let later = try await get(id) else { return unknown(id) }
                info = later
            }
            if case .ended(let reason) = info.state { return ended(id, reason) }
        } catch {
            if Task.isCancelled { return CancellationError() }
            // The first error is the one to tell; whether the sandbox lives stays open.
            return code == .notFound || code == .failedPrecondition
                ? SandboxError(.unavailable, mapped.message, cause: mapped.cause) : mapped
        }
        switch code {
        case .notFound: return SandboxError(call.missing, mapped.message, cause: mapped.cause)
        case .failedPrecondition: return SandboxError(call.refused, mapped.message, cause: mapped.cause)
        default: return mapped
        }
    }

    func unknown(_ id: SandboxID) -> SandboxError {
        SandboxError(.notFound, "\(configuration.name) knows no sandbox \(id) at \(address)")
    }

    func ended(_ id: SandboxID, _ reason: String) -> SandboxError {
        SandboxError(.ended, "sandbox \(id) is over: \(reason); create another")
    }

    // MARK: Files

    func fileDetail(_ error: ConnectError) -> FileSystemErrorDetail? {
        for detail in error.details where detail.type.hasSuffix(FileSystemErrorDetail.protoMessageName) {
            do {
                return try FileSystemErrorDetail(serializedBytes: detail.value)
            } catch {
                // A detail that cannot be read tells nothing; the error's own code and message do.
                continue
            }
        }
        return nil
    }

    private func fileFailure(
        _ detail: FileSystemErrorDetail, _ error: ConnectError, _ what: String, _ call: DepotCall, in id: SandboxID
    ) -> SandboxError {
        let text = detail.hasMessage ? detail.message : error.message
        let message = "cannot \(what) in sandbox \(id): \(text) (\(detail.syscall) \(detail.path))"
        let full = text.contains("No space left") || text.contains("Disk quota") || text.contains("ENOSPC")
        if full || error.code == .resourceExhausted { return SandboxError(.outOfSpace, message) }
        return SandboxError(error.code == .notFound ? call.missing : .commandFailed, message)
    }
}
