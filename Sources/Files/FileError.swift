import Glibc

/// A system call on a file failed.
package struct FileError: Error, Sendable, CustomStringConvertible {
    /// What was tried and on what, as in "write /out/x.ext4".
    package let action: String
    package let errno: Int32

    package init(_ action: String, errno: Int32) {
        self.action = action
        self.errno = errno
    }

    package var description: String { "cannot \(action): \(String(cString: strerror(errno)))" }

    /// No room: of the disk, or of a quota.
    package var isOutOfSpace: Bool { errno == ENOSPC || errno == EDQUOT }
}

/// Calls `body` until it is not interrupted by a signal; a result below zero throws.
@discardableResult
package func retryingInterrupts<Result: FixedWidthInteger & SignedInteger>(
    _ action: @autoclosure () -> String, _ body: () -> Result
) throws(FileError) -> Result {
    while true {
        let result = body()
        if result >= 0 { return result }
        let failure = errno
        if failure != EINTR { throw FileError(action(), errno: failure) }
    }
}
