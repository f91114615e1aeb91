import ArgumentParser
import EXT4
import HelperInterface

struct CatCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cat",
        abstract: "Writes a file of an image to standard output.",
        discussion: """
            Symbolic links are followed as the system in the image would do it, and never lead out of it. Holes are \
            written as zeros.
            """)

    @Argument(help: "The ext4 image.")
    var file: String

    @Argument(help: "The file in it, such as /etc/os-release.")
    var path: String

    func run() throws {
        try looking(at: file) {
            let image = try ImageFile(file)
            let path = rawBytes(of: path)
            let inode = try image.reader.inode(atPath: path, followsLast: true)
            guard inode.isFile else {
                let advice = inode.isDirectory ? "; snapshot ls lists it" : ", which has no content"
                throw LookFailure(
                    "\(file): \(printableName(path)) is a \(inode.type?.word ?? "thing of no known type")\(advice)",
                    .failed)
            }
            let output = StandardOutput()
            let zeros = [UInt8](repeating: 0, count: 256 << 10)
            try image.reader.content(of: inode) { piece in
                switch piece {
                case .data(let bytes): try output.writeLarge(bytes)
                case .hole(var left):
                    while left > 0 {
                        let count = Int(min(left, UInt64(zeros.count)))
                        try zeros.withUnsafeBytes {
                            try output.writeLarge(UnsafeRawBufferPointer(rebasing: $0[..<count]))
                        }
                        left -= UInt64(count)
                    }
                }
            }
            try output.flush()
        }
    }
}

extension ImageReader {
    /// The same as `read`, for a body that throws errors of its own.
    fileprivate func content(of inode: Inode, _ body: (FilePiece) throws -> Void) throws {
        var failure: (any Error)?
        do {
            try read(inode) { piece throws(EXT4Error) in
                do {
                    try body(piece)
                } catch {
                    failure = error
                    throw EXT4Error(.io, "Reading was stopped")
                }
            }
        } catch {
            throw failure ?? error
        }
    }
}
