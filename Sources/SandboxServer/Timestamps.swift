import Sandbox
import SwiftProtobuf

extension Google_Protobuf_Timestamp {
    init(_ time: UnixTime) {
        let (seconds, rest) = time.milliseconds.quotientAndRemainder(dividingBy: 1000)
        // nanos is never negative (timestamp.proto).
        let isBefore = rest < 0
        self.init(seconds: isBefore ? seconds - 1 : seconds, nanos: Int32(isBefore ? rest + 1000 : rest) * 1_000_000)
    }

    /// Rounded down to milliseconds; stops at the ends of the range.
    var unixTime: UnixTime {
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        let (sum, carry) = product.addingReportingOverflow(Int64(nanos) / 1_000_000)
        if overflow || carry { return UnixTime(milliseconds: seconds < 0 ? .min : .max) }
        return UnixTime(milliseconds: sum)
    }
}
