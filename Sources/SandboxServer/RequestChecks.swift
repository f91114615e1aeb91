import Connect
import Sandbox
import SandboxAPI
import SwiftProtobuf

/// Fields of requests, taken out and checked. Every error names the field.
extension SandboxRef {
    func checked(_ field: String = "sandbox") throws(ConnectError) -> SandboxID {
        let name = field.isEmpty ? "id" : field + ".id"
        guard case .id(let id)? = selector, !id.isEmpty else { throw .invalid(name, "is missing") }
        guard id.utf8.count <= 256 else { throw .invalid(name, "is longer than 256 bytes") }
        return SandboxID(id)
    }
}

enum RequestChecks {
    /// Linux takes no longer path (PATH_MAX), and no longer argument or variable (MAX_ARG_STRLEN).
    static let longestPath = 4095
    static let longestString = 131_071

    /// An absolute path inside the sandbox, without slashes at its end.
    static func path(_ text: String, _ field: String = "path") throws(ConnectError) -> String {
        guard text.hasPrefix("/") else { throw .invalid(field, "is not an absolute path") }
        guard !text.utf8.contains(0) else { throw .invalid(field, "holds a zero byte") }
        guard text.utf8.count <= longestPath else { throw .invalid(field, "is longer than \(longestPath) bytes") }
        let end = text.utf8.lastIndex { $0 != UInt8(ascii: "/") }
        return end.map { String(text[...$0]) } ?? "/"
    }

    /// A path whose last part is a name of its own, so that its entry can be removed or moved.
    static func entryPath(_ text: String, _ field: String = "path") throws(ConnectError) -> String {
        let path = try path(text, field)
        guard let last = path.split(separator: "/").last, last != ".", last != ".." else {
            throw .invalid(field, "does not end with a name")
        }
        return path
    }

    static func mode(_ mode: UInt32, _ field: String = "mode") throws(ConnectError) -> String {
        guard mode <= 0o7777 else { throw .invalid(field, "is more than the permission bits, 07777") }
        return String(mode, radix: 8)
    }

    static func environment(_ env: [String: String]) throws(ConnectError) {
        var size = 0
        for (name, value) in env {
            guard !name.isEmpty, !name.utf8.contains(UInt8(ascii: "=")), !name.utf8.contains(0) else {
                throw .invalid("env", "a variable's name is empty, or holds '=' or a zero byte")
            }
            guard !value.utf8.contains(0) else { throw .invalid("env", "the value of \(name) holds a zero byte") }
            size += name.utf8.count + value.utf8.count
        }
        // What one variable may have; a page of sandboxes with their environments has to fit into an answer.
        guard size <= longestString else { throw .invalid("env", "is larger than \(longestString) bytes") }
    }
}
