internal import Glibc

/// Little-endian fields at byte offsets, wherever they stand. Offsets are constants of the on-disk format or bounded by
/// the caller; nothing here checks them.
extension UnsafeMutableRawPointer {
    @inline(__always)
    func put<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }

    @inline(__always)
    func get<T: FixedWidthInteger>(_ type: T.Type, at offset: Int) -> T {
        T(littleEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
    }

    /// jbd2 alone is big-endian.
    func putBigEndian(_ value: UInt32, at offset: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt32.self)
    }

    func put(_ bytes: some Collection<UInt8>, at offset: Int) {
        UnsafeMutableRawBufferPointer(start: self + offset, count: bytes.count).copyBytes(from: bytes)
    }

    func zero(_ range: Range<Int>) {
        memset(self + range.lowerBound, 0, range.count)
    }
}

/// Below, at or above zero, as memcmp(3).
func compareBytes(_ one: UnsafeRawPointer, _ other: UnsafeRawPointer, _ count: Int) -> Int32 {
    memcmp(one, other, count)
}

/// Memory of a fixed size that outlives single calls, so that hot paths allocate nothing. It starts out as zeros, which
/// take no memory where they are many and never written to.
final class Scratch {
    let base: UnsafeMutableRawPointer
    let count: Int

    init(count: Int) {
        guard let memory = calloc(max(count, 1), 1) else { fatalError("no memory for \(count) bytes") }
        base = memory
        self.count = count
    }

    deinit {
        free(base)
    }

    var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: base, count: count)
    }

    func clear() {
        base.zero(0..<count)
    }
}

extension FixedWidthInteger where Self: UnsignedInteger {
    /// Rounds up. The divisor is one of the format's constants, and values stay far below the type's limit.
    @inline(__always)
    func dividedRoundingUp(by divisor: Self) -> Self {
        self / divisor + (self % divisor == 0 ? 0 : 1)
    }
}
