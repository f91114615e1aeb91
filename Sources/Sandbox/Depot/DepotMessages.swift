import SandboxAPI
import SwiftProtobuf

/// What the API's messages say in this module's terms, and the reverse. No I/O.
enum DepotMessages {
    /// The most minutes that a sandbox can be given (24 h).
    static let maximumMinutes: Int32 = 1440

    // MARK: What is asked

    static func createRequest(_ spec: SandboxSpec, provider: String) throws(SandboxError) -> CreateSandboxRequest {
        guard spec.inputs.isEmpty else {
            throw SandboxError(
                .invalidArgument,
                "a sandbox of \(provider) sees no file of this host (\(spec.inputs[0].hostPath)); use --sandbox local"
            )
        }
        for (name, value) in spec.labels {
            guard !name.isEmpty, !name.contains("="), !name.utf8.contains(0), !value.utf8.contains(0) else {
                throw SandboxError(
                    .invalidArgument, "the label \"\(name)\" cannot be an environment variable; give it another name"
                )
            }
        }
        var request = CreateSandboxRequest()
        request.name = spec.name
        request.env = spec.labels
        request.timeoutMinutes = try minutes(spec.timeToLive)
        if spec.vcpus != nil || spec.memoryBytes != nil || spec.diskBytes != nil {
            request.resources = try resources(spec)
        }
        if let image = spec.imageRef { request.runtime.imageRef = image }
        return request
    }

    /// Rounded up: a sandbox may live longer than was asked for, never shorter.
    static func minutes(_ timeToLive: Duration) throws(SandboxError) -> Int32 {
        guard timeToLive > .zero, timeToLive <= .seconds(Int64(maximumMinutes) * 60) else {
            throw SandboxError(
                .invalidArgument, "a time to live of \(timeToLive) is not possible: more than 0, at most 24 hours"
            )
        }
        let (seconds, rest) = timeToLive.components
        return Int32((seconds + (rest > 0 ? 1 : 0) + 59) / 60)
    }

    private static func resources(_ spec: SandboxSpec) throws(SandboxError) -> Resources {
        var resources = Resources()
        if let vcpus = spec.vcpus {
            guard let count = Int32(exactly: vcpus), count > 0 else {
                throw SandboxError(.invalidArgument, "\(vcpus) virtual processors cannot be asked for")
            }
            resources.vcpus = count
        }
        if let bytes = spec.memoryBytes { resources.memoryMb = try units(bytes, of: 1 << 20, "memory") }
        if let bytes = spec.diskBytes { resources.diskGb = try units(bytes, of: 1 << 30, "disk") }
        return resources
    }

    private static func units(_ bytes: UInt64, of unit: UInt64, _ what: String) throws(SandboxError) -> Int32 {
        guard bytes > 0, let count = Int32(exactly: (bytes - 1) / unit + 1) else {
            throw SandboxError(.invalidArgument, "\(bytes) bytes of \(what) cannot be asked for")
        }
        return count
    }

    static func sandbox(_ id: SandboxID) -> SandboxRef {
        var reference = SandboxRef()
        reference.id = id.rawValue
        return reference
    }

    // MARK: What is answered

    static func info(_ message: SandboxMessage) -> SandboxInfo {
        SandboxInfo(
            id: SandboxID(message.sandboxID),
            name: message.name,
            labels: message.env,
            state: state(message),
            createdAt: time(message.createdAt),
            expiresAt: message.hasExpiresAt ? time(message.expiresAt) : nil
        )
    }

    /// A status that nobody knows yet counts as alive: what is alive is looked after and killed.
    static func state(_ message: SandboxMessage) -> SandboxState {
        switch message.status {
        case .running: .running
        case .finished:
            .ended(reason: ending("it finished" + (message.hasExitCode ? " (\(message.exitCode))" : ""), message))
        case .cancelled: .ended(reason: ending("it was killed or its time to live passed", message))
        case .failed: .ended(reason: ending("it failed", message))
        case .unspecified, .created, .assigned, .starting, .UNRECOGNIZED: .starting
        }
    }

    private static func ending(_ what: String, _ message: SandboxMessage) -> String {
        message.errorMessage.isEmpty ? what : "\(what): \(message.errorMessage)"
    }

    static func time(_ stamp: Google_Protobuf_Timestamp) -> UnixTime {
        let (product, overflow) = stamp.seconds.multipliedReportingOverflow(by: 1000)
        guard !overflow else { return UnixTime(milliseconds: stamp.seconds < 0 ? .min : .max) }
        return UnixTime(milliseconds: product).advanced(by: .nanoseconds(Int64(stamp.nanos)))
    }

    static func timestamp(_ time: UnixTime) -> Google_Protobuf_Timestamp {
        var stamp = Google_Protobuf_Timestamp()
        let (seconds, rest) = time.milliseconds.quotientAndRemainder(dividingBy: 1000)
        // The nanoseconds count forward, before 1970 too (timestamp.proto).
        stamp.seconds = rest < 0 ? seconds - 1 : seconds
        stamp.nanos = Int32(rest < 0 ? rest + 1000 : rest) * 1_000_000
        return stamp
    }
}
