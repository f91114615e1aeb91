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
    /// How many layers may be open at once: the one that is merged, and those below it, which are decoded until their
    /// share of memory is full. That takes 3 threads for a layer; with fewer it is one layer after the other.
    package var layers: Int

    /// The fastest way on this machine.
    package init() {
        gzip = .fastest
        // With one core the stages would only wait for each other.
        threads = Self.cores > 1 ? Self.mostThreads : 1
        layers = Self.layersForCores
    }

    package init(gzip: GzipDecoder = .fastest, threads: Int, layers: Int? = nil) {
        self.gzip = gzip
        self.threads = threads
        self.layers = layers ?? Self.layersForCores
    }

    private static let mostThreads = 4
    /// Each has a connection to the registry, a window of compressed bytes and, when it is zstd, one of decoded bytes.
    private static let mostLayers = 6
    private static var cores: Int { sysconf(Int32(_SC_NPROCESSORS_ONLN)) }
    /// Two more than cores, since some wait for the network.
    private static var layersForCores: Int { min(max(1, cores) + 2, mostLayers) }

    var hashesBehind: Bool { threads >= 2 }
    var inflatesAhead: Bool { threads >= 3 }
    var readsAhead: Bool { threads >= 4 }
    /// Layers that are open at once, the one that is merged included.
    var openLayers: Int { inflatesAhead ? min(max(1, layers), Self.mostLayers) : 1 }

    /// Bytes that decoded layers may take together while they wait to be merged. With what stands before the decoders
    /// this keeps a pull under 300 MB, also where the layer that is merged needs zstd's largest window of 128 MiB.
    private static let waitingBytes = 80 << 20

    /// Decompressed bytes that may wait of one of `count` layers that are open at once.
    static func share(of count: Int, _ compression: Compression) -> Int {
        let share = waitingBytes / max(1, count)
        // Its decoder keeps all that it gave out a second time, until its window is full.
        return compression == .zstd ? share / 2 : share
    }
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
