import Glibc

/// Writes all of `text` to standard output: what a program was asked for, so that it has failed where this fails.
package func deliver(_ text: String) throws(FileError) {
    try writeAll(Array(text.utf8), to: STDOUT_FILENO)
}

/// Writes all bytes to standard output or standard error.
package func writeAll(_ bytes: [UInt8], to descriptor: Int32) throws(FileError) {
    let stream = descriptor == STDOUT_FILENO ? "standard output" : "standard error"
    var written = 0
    while written < bytes.count {
        let done = written
        written += try retryingInterrupts("write to \(stream)") {
            bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress.map { $0 + done }, $0.count - done) }
        }
    }
}

/// Writes all of `text` to a descriptor, standard error for example. A reader that went away is nobody to complain to,
/// so nothing is thrown: what a program says on the way must never be why its work fails.
package func say(_ text: String, to descriptor: Int32) {
    let bytes = Array(text.utf8)
    var written = 0
    while written < bytes.count {
        let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress! + written, $0.count - written) }
        if count < 0 {
            if errno == EINTR { continue }
            return
        }
        written += count
    }
}

/// Takes the places of standard streams that are closed, before a file is opened there and written to as if it were
/// one. A stream that was closed stays one that can be neither read nor written.
package func reserveStandardStreams() {
    for (descriptor, useless) in [(STDIN_FILENO, O_WRONLY), (STDOUT_FILENO, O_RDONLY), (STDERR_FILENO, O_RDONLY)]
    where fcntl(descriptor, F_GETFD) < 0 {
        // The lowest free number is this one: those below are taken. Where there is no /dev/null, nothing is worse than it was.
        _ = open("/dev/null", useless)
    }
}
