import ArgumentParser
import Crypto
import FoundationEssentials
import Glibc
import HelperInterface
import OCI
import SnapshotSteps
import Workflow

struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Turns an image into a snapshot.",
        discussion: """
            The same run again answers from the catalog; while one runs it waits for that one; \
            after an interruption it goes on with it.
            """)

    @Argument(
        help: """
            The image: a reference such as ghcr.io/acme/app:1.2, oci:DIRECTORY[:TAG], oci-archive:FILE[:TAG] or \
            docker-archive:FILE[:NAME:TAG].
            """)
    var image: String

    @Option(name: .shortAndLong, help: "Also put a copy of the ext4 file here.")
    var output: String?

    @Option(help: "The size of the file system, such as 10GiB. Default: as small as the content allows.")
    var size: String?

    @Flag(help: "Append a dm-verity hash tree; the snapshot's document names its root hash.")
    var verity = false

    @Option(help: "The platform to choose from an index, such as linux/arm64. Default: this machine's.")
    var platform: String?

    @Option(help: "Virtual processors of the sandbox.")
    var vcpus: Int?

    @Option(help: "Memory of the sandbox, such as 2GiB.")
    var memory: String?

    @Option(help: "Disk of the sandbox, such as 20GiB. Default: by the size of the image.")
    var disk: String?

    @Option(help: "How long the sandbox lives on when nobody looks after it.")
    var ttl = Span(seconds: SnapshotRequest.defaultTimeToLive)

    @Option(help: "Credentials, in the form of docker's config.json. Default: docker's own.")
    var credsFile: String?

    @Option(name: .customLong("plain-http"), help: "A registry host that is spoken to without TLS. May be repeated.")
    var plainHTTPHosts: [String] = []

    @Option(help: "A PEM file of certificates to trust besides the system's.")
    var caFile: String?

    @Option(help: "What the sandbox boots from: an image where its provider pulls one, a snapshot for --sandbox vm.")
    var builderImage: String?

    @Option(
        name: .customLong("snapshot-binary-url"),
        help: """
            Where the sandbox fetches the helper from: the program, a .tar.gz that holds it, or a release document; \
            #sha256=… is checked. Default: the helper beside snapwf is uploaded.
            """)
    var snapshotBinaryURL: String?

    @Option(
        help: """
            Push the snapshot to a registry from inside the sandbox, as an OCI artifact: registry.example/acme/app:1.2. \
            snapwf snapshots pull brings it back anywhere.
            """)
    var push: String?

    @Option(
        help: """
            Who keeps the snapshot: catalog (this machine), registry (only where --push puts it) or api (the Sandbox API \
            captures the sandbox). Default: registry for --push from elsewhere without --output, else catalog.
            """)
    var register: RegisterTarget?

    @Flag(help: "Boot the snapshot once in a virtual machine before it is kept.")
    var verifyBoot = false

    @Option(help: "What the snapshot is called from now on; the snapshot that had the name loses it.")
    var name: String?

    @Option(name: .customLong("label"), help: "A label of the snapshot, as NAME=VALUE. May be repeated.")
    var labels: [LabelArgument] = []

    @Flag(help: "Convert again, whatever runs or is in the catalog.")
    var force = false

    @Option(help: "How to tell progress on standard error: auto, tty, plain, json or none.")
    var progress: ProgressMode = .auto

    @OptionGroup var places: PlaceOptions

    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard ttl.seconds >= 30 else { throw ValidationError("--ttl must be at least 30s.") }
        guard vcpus.map({ (1...1024).contains($0) }) ?? true else {
            throw ValidationError("--vcpus must be from 1 to 1024.")
        }
    }

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: progress)
        try await reporter.reportingErrors {
            let request = try request()
            let session = try await Session.open(options, onProgress: { reporter.show($0) })
            session.name(request.place, token: places.token)
            let driver = RunDriver(session: session, reporter: reporter)
            try await driver.run(request, label: requestLabel(request))
        }
    }

    private func request() throws -> SnapshotRequest {
        let reference: ImageReference
        let wanted: Platform
        do {
            reference = try ImageReference(parsing: image).inAbsoluteForm()
            wanted = try platform.map { text throws(OCIError) in try Platform(parsing: text) } ?? .host
        } catch let error as OCIError {
            throw SnapshotError(.usage, error.message)
        }
        var request = SnapshotRequest(
            image: reference, platform: wanted, size: try byteCount(size, "--size"),
            exportPath: output.map(Places.absolutePath), timeToLive: ttl.seconds)
        guard (request.size ?? 0) <= PullArguments.largestSize else {
            throw SnapshotError(
                .usage,
                "--size is too large; the largest file system is one of "
                    + "\(PullArguments.largestSize >> 30)GiB")
        }
        request.verity = verity
        do {
            request.sourceDateEpoch = try SourceDateEpoch.fromEnvironment()
        } catch {
            throw SnapshotError(.usage, error.message)
        }
        request.vcpus = vcpus
        request.memoryBytes = try byteCount(memory, "--memory")
        request.diskBytes = try byteCount(disk, "--disk")
        request.plainHTTPHosts = plainHTTPHosts
        request.caFile = caFile.map(Places.absolutePath)
        request.credentialsFile = credsFile.map(Places.absolutePath)
        request.ignoresCatalog = force
        let place = try places.place(ProcessInfo.processInfo.environment)
        request.place = place == .local ? nil : place
        request.builderImage = builderImage
        request.helperURL = snapshotBinaryURL
        if let snapshotBinaryURL { _ = try HelperAddress(parsing: snapshotBinaryURL) }
        if let name { try Catalog.checkName(name) }
        request.name = name
        let labels = try LabelArgument.dictionary(labels)
        request.labels = labels.isEmpty ? nil : labels
        request.push = try push.map(pushReference)
        request.register = register ?? defaultTarget(request)
        request.verifyBoot = verifyBoot ? true : nil
        for file in [request.caFile, request.credentialsFile].compactMap({ $0 }) where access(file, R_OK) != 0 {
            throw SnapshotError(.usage, "\(file) cannot be read: \(String(cString: strerror(errno)))")
        }
        if let export = request.exportPath { try Places.checkExport(export) }
        return request
    }

    /// What is pushed from elsewhere need not come here, unless something here wants it.
    private func defaultTarget(_ request: SnapshotRequest) -> RegisterTarget? {
        guard request.push != nil, case .api? = request.place, output == nil, !verifyBoot, request.name == nil,
            request.labels?.isEmpty ?? true
        else { return nil }
        return .registry
    }

    private func pushReference(_ text: String) throws -> String {
        do {
            let reference = try ImageReference(parsing: text)
            guard case .registry = reference.transport, reference.digest == nil else {
                throw SnapshotError(
                    .usage, "--push \(text): name a registry's repository and a tag, such as ghcr.io/acme/app:1")
            }
            return reference.description
        } catch let error as OCIError {
            throw SnapshotError(.usage, "--push \(text): \(error.message)")
        }
    }

    /// Before anything is downloaded: a place where no file can be made is no place.
    private func checkExport(_ path: String) throws {
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

    /// What makes two calls the same request.
    private func requestLabel(_ request: SnapshotRequest) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return String(hexadecimal(SHA256.hash(data: try encoder.encode(request))).prefix(32))
    }
}

extension RegisterTarget: ExpressibleByArgument {}

extension ImageReference {
    /// The path of a layout or an archive made absolute: the run may be resumed from somewhere else.
    fileprivate func inAbsoluteForm() throws -> ImageReference {
        let prefix: String
        let path: String
        switch transport {
        case .layout(let directory, _, _):
            prefix = "oci:"
            path = directory
        case .archive(let format, let file, _, _):
            prefix = format.rawValue + ":"
            path = file
        case .registry: return self
        case .standardInput:
            throw SnapshotError(
                .usage,
                "a run must be able to read its image again, so it takes none from standard input: "
                    + "write the archive to a file, and name it as docker-archive:FILE or oci-archive:FILE")
        }
        guard !path.hasPrefix("/") else { return self }
        let suffix = (tag.map { ":\($0)" } ?? "") + (digest.map { "@\($0)" } ?? "")
        return try ImageReference(
            parsing: prefix + FileManager.default.currentDirectoryPath + "/" + path + suffix)
    }
}
