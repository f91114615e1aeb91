import Connect
import SandboxAPI
import SwiftProtobuf

/// What the C library says of an errno, in the locale C, as programs end their complaints with it.
enum FileFailure: String, CaseIterable {
    case missing = "No such file or directory"
    case exists = "File exists"
    case notPermitted = "Operation not permitted"
    case denied = "Permission denied"
    case readOnly = "Read-only file system"
    case notDirectory = "Not a directory"
    case isDirectory = "Is a directory"
    case notEmpty = "Directory not empty"
    case noSpace = "No space left on device"
    case quota = "Disk quota exceeded"
    case tooLarge = "File too large"
    case nameTooLong = "File name too long"
    case loop = "Too many levels of symbolic links"
    case invalid = "Invalid argument"
    case busy = "Device or resource busy"
    case textBusy = "Text file busy"
    case crossDevice = "Invalid cross-device link"
    case noDevice = "No such device or address"
    case manyLinks = "Too many links"
    case inputOutput = "Input/output error"
    case unsupported = "Operation not supported"

    /// The same in other words: musl's, and those of shells that failed to open a file.
    private static let synonyms: [(String, FileFailure)] = [
        ("No such file", .missing), ("Directory nonexistent", .missing), ("nonexistent directory", .missing),
        ("Filename too long", .nameTooLong), ("Symbolic link loop", .loop), ("Resource busy", .busy),
        ("Cross-device link", .crossDevice), ("I/O error", .inputOutput), ("Not supported", .unsupported),
        ("Quota exceeded", .quota),
    ]

    /// - Parameter complaint: what a program wrote to standard error. Its last words count: before them there are
    ///   names, which can be anything.
    init?(complaint: String) {
        let words = complaint.trimmedEnd
        if let failure = Self.allCases.first(where: { words.hasSuffix(": " + $0.rawValue) }) {
            self = failure
        } else if let synonym = Self.synonyms.first(where: { words.hasSuffix(": " + $0.0) }) {
            self = synonym.1
        } else {
            return nil
        }
    }

    var code: ConnectError.Code {
        switch self {
        case .missing: .notFound
        case .exists: .alreadyExists
        case .notPermitted, .denied, .readOnly: .permissionDenied
        case .notDirectory, .isDirectory, .notEmpty, .busy, .textBusy, .crossDevice, .noDevice: .failedPrecondition
        case .noSpace, .quota, .manyLinks: .resourceExhausted
        case .tooLarge: .outOfRange
        case .nameTooLong, .loop, .invalid: .invalidArgument
        case .inputOutput: .dataLoss
        case .unsupported: .unimplemented
        }
    }

    /// A failed call for a file, as the API tells it.
    ///
    /// The detail's `code` stays 0, unspecified: the meaning of its numbers is not published. The error's own code,
    /// the call and the message say as much.
    static func error(_ call: String, _ path: String, complaint: String) -> ConnectError {
        let failure = FileFailure(complaint: complaint)
        let reason = failure?.rawValue ?? String(complaint.trimmedEnd.suffix(1000))
        var detail = FileSystemErrorDetail()
        detail.syscall = call
        detail.path = path
        detail.message = reason
        return ConnectError(
            failure?.code ?? .unknown, "\(call) \(path): \(reason.isEmpty ? "it failed without a word" : reason)",
            details: ConnectError.Detail(detail).map { [$0] } ?? [])
    }
}

extension ConnectError.Detail {
    init?(_ message: some Message) {
        do {
            self.init(type: Swift.type(of: message).protoMessageName, value: try message.serializedBytes())
        } catch {
            // Only a text that is no UTF-8 or a message without its required fields: neither exists here.
            return nil
        }
    }
}

extension String {
    /// Without white space at the end.
    var trimmedEnd: String { String(reversed().drop { $0.isWhitespace }.reversed()) }
}
