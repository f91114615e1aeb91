/// A run of consecutive blocks of a file that stand in consecutive blocks of the image.
struct Extent: Sendable, Hashable {
    /// The first block within the file.
    var logical: UInt64
    /// The first block within the image.
    var physical: UInt64
    /// In blocks; as long as it happens to be, it is cut to what an on-disk extent can hold when it is written.
    var count: UInt64
}

/// Where the bytes of a file landed. Most files have one extent, so one is kept without an allocation.
package struct FileData: Sendable, Hashable {
    /// In bytes, holes included.
    package internal(set) var size: UInt64 = 0
    var first: Extent?
    var rest: [Extent] = []

    /// A file of no bytes.
    package init() {}

    /// Blocks of 4096 bytes that hold data.
    package var blockCount: UInt64 {
        rest.reduce(first?.count ?? 0) { $0 + $1.count }
    }

    /// Adds blocks at the end, as part of the last extent where they continue it.
    mutating func append(_ extent: Extent) {
        guard let first else {
            self.first = extent
            return
        }
        if rest.isEmpty {
            if extent.continues(first) {
                self.first?.count += extent.count
            } else {
                rest.append(extent)
            }
        } else if extent.continues(rest[rest.count - 1]) {
            rest[rest.count - 1].count += extent.count
        } else {
            rest.append(extent)
        }
    }

    func forEachExtent<E: Error>(_ body: (Extent) throws(E) -> Void) throws(E) {
        guard let first else { return }
        try body(first)
        for extent in rest {
            try body(extent)
        }
    }
}

extension Extent {
    fileprivate func continues(_ other: Extent) -> Bool {
        logical == other.logical + other.count && physical == other.physical + other.count
    }
}
