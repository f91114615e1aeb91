import EXT4
import Files
import Glibc
import HelperInterface

/// An image that is looked at: never written to.
struct ImageFile: ~Copyable {
    let file: OpenFile
    let reader: ImageReader

    var path: String { file.path }

    /// Opens a regular file or a block device; a fifo, which would be waited for, and all else is refused.
    init(_ path: String) throws {
        let file = try OpenFile(path, O_RDONLY | O_NONBLOCK)
        let type = try file.status().st_mode & S_IFMT
        guard type == S_IFREG || type == S_IFBLK else {
            let found = type == S_IFDIR ? "a directory" : "no regular file"
            throw LookFailure("\(path) is \(found); name an ext4 image, such as snapshot pull writes", .usage)
        }
        reader = try ImageReader(fileDescriptor: file.descriptor)
        self.file = file
    }
}

/// Why a verb that only looks gave up.
struct LookFailure: Error {
    let message: String
    let status: ExitStatus

    init(_ message: String, _ status: ExitStatus) {
        self.message = message
        self.status = status
    }

    /// What an error says of an image, and how the program ends for it.
    static func describing(_ error: any Error, image: String) -> LookFailure {
        switch error {
        case let error as LookFailure: return error
        case let error as EXT4Error:
            let status: ExitStatus =
                switch error.code {
                case .notFound: .notFound
                case .corrupt, .unsupported: .badImage
                default: .failed
                }
            return LookFailure("\(image): \(error)", status)
        case let error as FileError:
            return LookFailure(error.description, error.errno == ENOENT ? .notFound : .failed)
        default: return LookFailure("\(image): \(error)", .failed)
        }
    }
}

/// Runs a verb that only looks; what it throws is said on standard error, and becomes the exit status.
///
/// Standard output is often a pipe to something that has seen enough: the signal that ends every other tool then ends
/// this one, too. There is nothing to clean up.
func looking(at image: String, trouble: ExitStatus? = nil, _ body: () throws -> Void) throws(Reported) {
    signal(SIGPIPE, SIG_DFL)
    do {
        try body()
    } catch let error as Reported {
        throw error
    } catch {
        let failure = LookFailure.describing(error, image: image)
        say("snapshot: \(failure.message)\n", to: 2)
        throw Reported(status: failure.status == .failed ? trouble ?? .failed : failure.status)
    }
}

/// An argument as it was given: the parser's text has lost what is no UTF-8.
func rawBytes(of argument: String) -> [UInt8] {
    for index in 1..<max(Int(CommandLine.argc), 1) {
        guard let text = CommandLine.unsafeArgv[index], String(cString: text) == argument else { continue }
        return Array(UnsafeRawBufferPointer(start: text, count: strlen(text)))
    }
    return Array(argument.utf8)
}
