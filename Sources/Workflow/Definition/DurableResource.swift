public import Foundation

/// Something outside that a run owns for a while: a sandbox, a virtual machine, a lease.
///
/// The engine writes it into its ledger before ``create(_:)`` is called, and keeps the entry until ``release(_:_:)``
/// succeeded, so that after a crash at any moment either the run or a garbage collector knows what to look for.
public protocol DurableResource: Sendable {
    /// What the body works with; stored in the ledger as JSON, so it must never hold a secret.
    associatedtype Handle: Codable & Sendable

    /// The kind under which the ledger lists it, such as `sandbox`.
    static var kind: String { get }

    /// Bounds of the engine's calls to this resource.
    var limits: ResourceLimits { get }

    /// Finds everything that earlier attempts may have made under this key, oldest first.
    ///
    /// The answer must be complete; where it cannot be, throw. A lagging listing has to be waited for in here:
    /// after an empty answer the engine creates. ``ResourceKey/intendedAt`` bounds how far back to look.
    func find(_ key: ResourceKey) async throws -> [Handle]

    /// Makes the resource so that ``find(_:)`` will find it by its key.
    ///
    /// A retryable or in-doubt error makes the engine look first and create again only if nothing was found.
    func create(_ key: ResourceKey) async throws -> Handle

    /// Tells whether the resource still exists in a state the body can work with.
    func liveness(of handle: Handle, _ key: ResourceKey) async throws -> Liveness

    /// Ends the resource. Already gone is success.
    func release(_ handle: Handle, _ key: ResourceKey) async throws

    /// The name under which the outside knows the resource; the ledger shows it.
    func externalID(of handle: Handle) -> String
}

extension DurableResource {
    /// The engine's defaults.
    public var limits: ResourceLimits { ResourceLimits() }
}

/// Bounds of the engine's calls to a resource.
public struct ResourceLimits: Sendable, Hashable {
    /// How creation, finding and liveness are retried.
    public var createRetry: RetryPolicy
    /// How release is retried. When it is used up the entry stays `releasing` in the ledger, for garbage collection.
    public var releaseRetry: RetryPolicy
    /// The longest single call of create, find or liveness.
    public var callTimeout: Duration
    /// The longest single call of release.
    public var releaseTimeout: Duration
    /// How many incarnations one run may use up before it fails, at least 1.
    public var maximumGenerations: Int

    /// Makes the bounds.
    public init(
        createRetry: RetryPolicy = .default,
        releaseRetry: RetryPolicy = .exponential(attempts: 12, base: .seconds(1), cap: .seconds(30)),
        callTimeout: Duration = .seconds(600),
        releaseTimeout: Duration = .seconds(120),
        maximumGenerations: Int = 5
    ) {
        self.createRetry = createRetry
        self.releaseRetry = releaseRetry
        self.callTimeout = callTimeout
        self.releaseTimeout = releaseTimeout
        self.maximumGenerations = max(maximumGenerations, 1)
    }
}

/// What a resource says about one of its incarnations.
public enum Liveness: String, Sendable, Codable, Hashable {
    /// It exists and can be worked with.
    case alive
    /// It is gone for good.
    case lost
    /// It could not be found out now.
    case unknown
}

/// The identity of one incarnation of a resource, the same in every attempt and every process.
public struct ResourceKey: Sendable, Hashable, Codable {
    /// A name for this incarnation that no other one has: letters, digits and `-`, at most 64 bytes.
    public let idempotencyKey: String
    /// The run that owns it.
    public let runID: RunID
    /// The name of the scope.
    public let name: String
    /// Which incarnation it is, from 1.
    public let generation: Int
    /// When the intent to create it was recorded, by the store's clock.
    public let intendedAt: Date

    /// Makes a key, for tests of a resource.
    public init(idempotencyKey: String, runID: RunID, name: String, generation: Int, intendedAt: Date) {
        self.idempotencyKey = idempotencyKey
        self.runID = runID
        self.name = name
        self.generation = generation
        self.intendedAt = intendedAt
    }
}

/// A step's body throws this to say that the resource of its scope is gone.
///
/// The engine asks the resource. If it is lost, the ledger says so and the scope begins its next generation; if it is
/// alive or nobody can tell, the attempt counts as a retryable failure.
public struct ResourceLost: Error, Sendable, CustomStringConvertible {
    /// The name of the scope; the innermost one when `nil`.
    public let name: String?
    /// What makes the thrower believe so.
    public let reason: String

    /// Says that the resource named `name`, or that of the innermost scope, is gone.
    public init(named name: String? = nil, reason: String = "the resource is gone") {
        self.name = name
        self.reason = reason
    }

    /// The reason, with the name if there is one.
    public var description: String {
        guard let name else { return reason }
        return "\(name): \(reason)"
    }
}
