internal import Glibc

/// Runs blocking work on a thread of its own, so that no thread of the cooperative pool ever waits for a disk.
///
/// A thread is made for each call: for a few small files in the life of a program that is cheaper than keeping one.
func onOwnThread<Value: Sendable>(
    _ body: @escaping @Sendable () throws(OCIError) -> Value
) async throws(OCIError) -> Value {
    let result: Result<Value, OCIError> = await withCheckedContinuation { continuation in
        let work = ThreadWork {
            do throws(OCIError) {
                continuation.resume(returning: .success(try body()))
            } catch {
                continuation.resume(returning: .failure(error))
            }
        }
        let argument = Unmanaged.passRetained(work)
        var thread = pthread_t()
        let failure = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<ThreadWork>.fromOpaque(argument).takeRetainedValue().body() }
                return nil
            }, argument.toOpaque())
        if failure == 0 {
            pthread_detach(thread)
        } else {
            argument.release()
            continuation.resume(
                returning: .failure(OCIError(.ioFailure, "no thread can be started: \(describe(errno: failure))")))
        }
    }
    return try result.get()
}

private final class ThreadWork: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

/// The system's words for an error number.
func describe(errno code: Int32) -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard strerror_r(code, &buffer, buffer.count) == 0 else { return "error \(code)" }
    let text = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return text.isEmpty ? "error \(code)" : text
}
