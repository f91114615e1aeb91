import Foundation
import Glibc

/// Where a store is.
enum StorePath {
    /// The absolute path: the working directory may change between two openings.
    static func absolute(_ path: String) throws -> String {
        guard !path.isEmpty else {
            throw WorkflowError(.storeNotWritable, "the path of the store is empty: name a file")
        }
        let absolute = URL(fileURLWithPath: path).path
        var info = stat()
        if stat(absolute, &info) == 0, info.st_mode & S_IFMT == S_IFDIR {
            throw WorkflowError(.storeNotWritable, "the store \(absolute) is a directory: name a file in it")
        }
        return absolute
    }
}
