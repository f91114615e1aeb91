import Glibc

/// What a program of this host said and how it ended: for one that is asked its version, or whether it works at all.
package struct ProgramAnswer: Sendable {
    /// Its exit code, or 128 + n when signal n ended it.
    package let status: Int32
    /// The beginning of what it wrote to either stream.
    package let text: String

    /// Runs the program without input and without environment. Blocks; after `patience` it is killed with its group.
    package init(of path: String, _ arguments: [String], patience: Duration) throws(SandboxError) {
        let output = try Pipe()
        let pid = try ChildProcess.start(path, arguments, descriptors: [-1, output.write.raw, output.write.raw])
        let read = output.readEnd()
        setNonBlocking(read.raw)
        // What is more than the pipe holds makes it wait, and then it meets the end of our patience.
        status = try ChildProcess.reap(pid, patience: patience)
        text = String(decoding: drain(read.raw, limit: 2000), as: UTF8.self).trimmed
    }
}
