import Testing

@testable import RootFS

/// Every decoder of gzip that this machine has, on one thread and on as many as there can be.
let ways: [Execution] = GzipDecoder.available.flatMap { gzip in
    [1, 2, 3, 4].map { Execution(gzip: gzip, threads: $0) }
}

extension Execution: CustomTestStringConvertible {
    package var testDescription: String { "\(gzip.rawValue), \(threads) threads" }
}
