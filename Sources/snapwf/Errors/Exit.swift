import HelperInterface

/// The command is over and everything there was to say has been said.
struct Exit: Error {
    let code: Int32

    init(_ status: ExitStatus) { code = status.rawValue }

    /// With the code of another process.
    init(code: Int32) { self.code = code }
}
