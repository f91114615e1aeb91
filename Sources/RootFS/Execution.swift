import CISAL
import CZlib
import Glibc

/// How a conversion is carried out. It decides how long that takes and never what comes out.
package struct Execution: Sendable {
    /// Who inflates gzip.
    package var gzip: GzipDecoder
    /// How many threads may work on a layer at once: 1 is the caller's alone; then hashing what was decompressed,
    /// inflating, and reading the layer get one each, in that order. More than 4 are never used.
    package var threads: Int

    /// The fastest way on this machine.
    package init() {
        gzip = .fastest
        // With one core the stages would only wait for each other.
        threads = sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1 ? Self.mostThreads : 1
    }

    package init(gzip: GzipDecoder = .fastest, threads: Int) {
        self.gzip = gzip
        self.threads = threads
    }

    private static let mostThreads = 4

    var hashesBehind: Bool { threads >= 2 }
    var inflatesAhead: Bool { threads >= 3 }
    var readsAhead: Bool { threads >= 4 }
}

/// A library that inflates gzip. All of them take and refuse the same.
package enum GzipDecoder: String, Sendable, CaseIterable {
    /// Intel's, more than three times as fast; loaded where it is installed, or stands beside the program.
    case isal = "isa-l"
    case zlib

    /// Those that this machine has, the fastest first.
    package static var available: [GzipDecoder] {
        cisal_library() == nil ? [.zlib] : [.isal, .zlib]
    }

    package static var fastest: GzipDecoder { available[0] }

    /// The library's name and, where it can be asked, its version.
    package var library: String {
        switch self {
        case .isal: "ISA-L (\(cisal_library().map { String(cString: $0) } ?? "missing"))"
        case .zlib: "zlib \(String(cString: zlibVersion()))"
        }
    }
}
