// How the structures of the messages lie in a payload: one reader and one writer each, field by field.

extension GuestConfiguration {
    init(_ payload: inout PayloadReader) throws(ProtocolError) {
        disk = try payload.text()
        isReadOnly = try payload.flag()
        growsRoot = try payload.flag()
        hostname = try payload.text()
        network = try payload.optional { reader throws(ProtocolError) in try Network(&reader) }
        environment = try payload.texts()
        user = try payload.text()
        workingDirectory = try payload.text()
    }

    func write(to payload: inout PayloadWriter) {
        payload.text(disk)
        payload.flag(isReadOnly)
        payload.flag(growsRoot)
        payload.text(hostname)
        payload.optional(network) { $1.write(to: &$0) }
        payload.texts(environment)
        payload.text(user)
        payload.text(workingDirectory)
    }
}

extension GuestConfiguration.Network {
    init(_ payload: inout PayloadReader) throws(ProtocolError) {
        address = try payload.number()
        prefixLength = try payload.number()
        guard prefixLength <= 32 else {
            throw ProtocolError(.malformed, "\(prefixLength) is no length of an IPv4 prefix")
        }
        gateway = try payload.number()
        nameServer = try payload.number()
    }

    func write(to payload: inout PayloadWriter) {
        payload.number(address)
        payload.number(prefixLength)
        payload.number(gateway)
        payload.number(nameServer)
    }
}

extension CommandRequest {
    init(_ payload: inout PayloadReader) throws(ProtocolError) {
        arguments = try payload.texts()
        environment = try payload.texts()
        workingDirectory = try payload.optional { reader throws(ProtocolError) in try reader.text() }
        user = try payload.optional { reader throws(ProtocolError) in try reader.text() }
        hasInput = try payload.flag()
        terminal = try payload.optional { reader throws(ProtocolError) in try TerminalSize(&reader) }
    }

    func write(to payload: inout PayloadWriter) {
        payload.texts(arguments)
        payload.texts(environment)
        payload.optional(workingDirectory) { $0.text($1) }
        payload.optional(user) { $0.text($1) }
        payload.flag(hasInput)
        payload.optional(terminal) { $1.write(to: &$0) }
    }
}

extension TerminalSize {
    init(_ payload: inout PayloadReader) throws(ProtocolError) {
        rows = try payload.number()
        columns = try payload.number()
    }

    func write(to payload: inout PayloadWriter) {
        payload.number(rows)
        payload.number(columns)
    }
}

extension GuestHello {
    init(_ payload: inout PayloadReader) throws(ProtocolError) {
        let version = try payload.number(UInt32.self)
        self.init(version: version, bootMilliseconds: 0, kernelRelease: "", isConfigured: false, warnings: [])
        guard version == Self.version else { return }
        bootMilliseconds = try payload.number()
        kernelRelease = try payload.text()
        isConfigured = try payload.flag()
        warnings = try payload.texts()
    }

    func write(to payload: inout PayloadWriter) {
        payload.number(version)
        payload.number(bootMilliseconds)
        payload.text(kernelRelease)
        payload.flag(isConfigured)
        payload.texts(warnings)
    }
}

extension GuestFailure {
    init(_ payload: inout PayloadReader) throws(ProtocolError) {
        let number = try payload.number(UInt8.self)
        guard let code = Code(rawValue: number) else {
            throw ProtocolError(.malformed, "a failure has the unknown code \(number)")
        }
        self.code = code
        errno = Int32(bitPattern: try payload.number())
        message = try payload.text()
    }

    func write(to payload: inout PayloadWriter) {
        payload.number(code.rawValue)
        payload.number(UInt32(bitPattern: errno))
        payload.text(message)
    }
}

extension GuestStatus {
    init(_ payload: inout PayloadReader) throws(ProtocolError) {
        memoryTotal = try payload.number()
        memoryAvailable = try payload.number()
        diskTotal = try payload.number()
        diskAvailable = try payload.number()
        uptimeMilliseconds = try payload.number()
        bootMilliseconds = try payload.number()
        running = try payload.number()
    }

    func write(to payload: inout PayloadWriter) {
        payload.number(memoryTotal)
        payload.number(memoryAvailable)
        payload.number(diskTotal)
        payload.number(diskAvailable)
        payload.number(uptimeMilliseconds)
        payload.number(bootMilliseconds)
        payload.number(running)
    }
}
