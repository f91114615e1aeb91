import HelperInterface
import Synchronization

/// Adds up the bytes of all layers as they are read, and reports them.
final class LayerByteCounter: Sendable {
    private let bytes = Atomic<UInt64>(0)
    private let total: UInt64
    private let report: Reporter

    init(total: UInt64, report: Reporter) {
        self.total = total
        self.report = report
    }

    func add(_ count: Int) {
        let sum = bytes.wrappingAdd(UInt64(count), ordering: .relaxed).newValue
        report.progress(PullProgress(phase: .layers, bytes: sum, total: total))
    }
}
