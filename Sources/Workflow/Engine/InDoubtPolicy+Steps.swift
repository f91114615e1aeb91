extension InDoubtPolicy {
    var name: StepRecord.Policy {
        switch self {
        case .retry: .retry
        case .ask: .ask
        case .verify: .verify
        }
    }

    /// Nothing runs again unseen: whoever cannot verify asks.
    var orAsk: InDoubtPolicy {
        if case .retry = self { .ask } else { self }
    }

    /// The policy over another kind of output.
    func map<Other>(_ transform: @escaping @Sendable (Output) throws -> Other) -> InDoubtPolicy<Other> {
        switch self {
        case .retry: .retry
        case .ask: .ask
        case .verify(let verify):
            .verify { context in
                switch try await verify(context) {
                case .done(let output): .done(try transform(output))
                case .notDone: .notDone
                case .unknown: .unknown
                }
            }
        }
    }
}
