import Glibc

/// Writes all of `text` to a descriptor, standard output for example. A reader that went away is nobody to complain to,
/// so nothing is thrown: what a program says must never be why its work fails.
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
