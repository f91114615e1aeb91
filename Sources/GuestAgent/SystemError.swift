import Glibc
import GuestProtocol

/// A system call that failed, and what it was for.
struct SystemError: Error, CustomStringConvertible {
    let errno: Int32
    let action: String

    init(_ errno: Int32, _ action: String) {
        self.errno = errno
        self.action = action
    }

    /// - Parameter result: what a function of CGuest answers: negative is an errno.
    @discardableResult
    static func check(_ result: Int32, _ action: @autoclosure () -> String) throws(SystemError) -> Int32 {
        guard result >= 0 else { throw SystemError(-result, action()) }
        return result
    }

    var description: String { "cannot \(action): \(reasonText(errno))" }

    func failure(_ code: GuestFailure.Code) -> GuestFailure {
        GuestFailure(errno == ENOSPC || errno == EDQUOT ? .outOfSpace : code, errno: errno, description)
    }
}

func reasonText(_ number: Int32) -> String {
    guard let text = strerror(number) else { return "error \(number)" }
    return String(cString: text)
}

/// An open descriptor that is closed when its owner goes.
final class Descriptor {
    let raw: Int32

    init(_ raw: Int32) {
        self.raw = raw
    }

    deinit {
        _ = close(raw)
    }
}
