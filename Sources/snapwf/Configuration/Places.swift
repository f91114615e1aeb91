import Files
import FoundationEssentials
import Glibc
import SnapshotSteps

/// Where this installation keeps things, by its environment variables.
enum Places {
    /// `$SNAPWF_HOME`, else `$XDG_STATE_HOME/snapwf`, else `~/.local/state/snapwf`.
    static func stateDirectory(_ variables: [String: String]) throws -> String {
        if let home = variables["SNAPWF_HOME"], !home.isEmpty {
            return home.hasPrefix("/") ? home : FileManager.default.currentDirectoryPath + "/" + home
        }
        if let state = variables["XDG_STATE_HOME"], state.hasPrefix("/") { return state + "/snapwf" }
        if let home = variables["HOME"], home.hasPrefix("/") { return home + "/.local/state/snapwf" }
        throw SnapshotError(
            .stateDirectory,
            "there is no place for snapwf's state: HOME is not set. Name one: SNAPWF_HOME=/path snapwf …")
    }

    /// A path as it is from everywhere: what is recorded may be used from another directory.
    static func absolutePath(_ path: String) -> String {
        path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
    }

    /// This very program.
    static func executable() throws -> String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        guard count > 0 else {
            throw SnapshotError(.failed, "/proc/self/exe cannot be read: is /proc mounted?")
        }
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The hidden verb that this program is started with as a sandbox's shim.
    static let shimVerb = "sandbox-shim"
    /// The same for a virtual machine's.
    static let machineShimVerb = "guest-shim"

    /// `$SNAPWF_HELPER`, else the helper that was installed with this program.
    static func helper(_ variables: [String: String], executable: String) -> String {
        nonEmpty(variables["SNAPWF_HELPER"]) ?? companion("snapshot", of: executable)
    }

    /// `$SNAPWF_AGENT`, else the agent that was installed with this program.
    static func agent(_ variables: [String: String], executable: String) -> String {
        nonEmpty(variables["SNAPWF_AGENT"]) ?? companion("snapwf-agent", of: executable)
    }

    /// A program that came with this one: beside it as it is built, in `libexec` as it is installed.
    private static func companion(_ name: String, of executable: String) -> String {
        let directory = parentDirectory(of: executable)
        let installed = parentDirectory(of: directory) + "/libexec/snapwf/" + name
        return !fileExists(directory + "/" + name) && fileExists(installed) ? installed : directory + "/" + name
    }

    /// Before anything is downloaded: a place where no file can be made is no place.
    static func checkExport(_ path: String) throws {
        let directory = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
        guard access(directory.isEmpty ? "/" : directory, W_OK | X_OK) == 0 else {
            throw SnapshotError(
                .usage, "--output \(path) cannot be written: \(directory): \(String(cString: strerror(errno)))")
        }
        var status = stat()
        if lstat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
            throw SnapshotError(.usage, "--output \(path) is there and is no regular file; name another one")
        }
    }
}

/// A variable or a flag that is set to nothing counts as not set.
func nonEmpty(_ text: String?) -> String? { text.flatMap { $0.isEmpty ? nil : $0 } }
