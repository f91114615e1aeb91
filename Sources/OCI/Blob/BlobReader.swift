/// The bytes of a blob, verified. Blocking: call it from a thread of your own, never from the cooperative pool.
///
/// A reader belongs to one thread at a time; `close()` alone may be called from any thread.
package protocol BlobReader: AnyObject, Sendable {
    /// Fills `buffer` from the front and returns how many bytes, at least one until the end.
    ///
    /// Returns 0 only after the whole blob was read and its size and digest matched (and for an empty buffer): bytes
    /// seen before that are unproven. An error is final; every later call throws it again.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(OCIError) -> Int

    /// Ends the transfer and frees what it holds; further reads throw `cancelled`. May be called twice.
    func close()
}
