import Crypto
import FoundationEssentials
import Glibc
import HelperInterface
import OCI
import SnapshotSteps
import Workflow

/// The flags of a verb that asks for snapshots.
protocol RequestOptions {
    var image: [String] { get }
    var snapshot: SnapshotOptions { get }
    var keeping: KeepingOptions { get }
    var access: ImageAccessOptions { get }
    var places: PlaceOptions { get }
    var machine: MachineOptions { get }
    var stored: StoreOptions { get }
    var force: Bool { get }
    /// Whether `--output` is a directory, whatever the number of images here.
    var writesSeveral: Bool { get }
}

extension RequestOptions {
    var writesSeveral: Bool { image.count > 1 }

    /// What is asked for, each image once, with what makes two calls the same request.
    func requests() throws -> [(request: SnapshotRequest, label: String)] {
        var requests: [(request: SnapshotRequest, label: String)] = []
        for text in image {
            let request = try request(for: text)
            let label = try requestLabel(request)
            if requests.contains(where: { $0.label == label }) { continue }
            if let path = request.exportPath, requests.contains(where: { $0.request.exportPath == path }) {
                throw SnapshotError(.usage, "two of the images would be written to \(path); run them one by one")
            }
            requests.append((request, label))
        }
        return requests
    }

    private func request(for image: String) throws -> SnapshotRequest {
        let reference: ImageReference
        let wanted: Platform
        do {
            reference = try ImageReference(parsing: image).inAbsoluteForm()
            wanted = try snapshot.platform.map { text throws(OCIError) in try Platform(parsing: text) } ?? .host
        } catch let error as OCIError {
            throw SnapshotError(.usage, error.message)
        }
        var request = SnapshotRequest(
            image: reference, platform: wanted, size: try byteCount(snapshot.size, "--size"),
            exportPath: try exportPath(for: reference), timeToLive: machine.ttl.seconds)
        guard (request.size ?? 0) <= PullArguments.largestSize else {
            throw SnapshotError(
                .usage,
                "--size is too large; the largest file system is one of \(PullArguments.largestSize >> 30)GiB")
        }
        request.verity = snapshot.verity
        do {
            request.sourceDateEpoch = try SourceDateEpoch.fromEnvironment()
        } catch {
            throw SnapshotError(.usage, error.message)
        }
        request.ignoresCatalog = force
        request.verifyBoot = snapshot.verifyBoot ? true : nil
        try setMachine(&request)
        try setAccess(&request)
        try setKeeping(&request)
        return request
    }

    private func setMachine(_ request: inout SnapshotRequest) throws {
        request.vcpus = machine.vcpus
        request.memoryBytes = try byteCount(machine.memory, "--memory")
        request.diskBytes = try byteCount(machine.disk, "--disk")
        let place = try places.place(ProcessInfo.processInfo.environment)
        request.place = place == .local ? nil : place
        request.builderImage = machine.builderImage
        request.helperURL = machine.snapshotBinaryURL
        if let url = machine.snapshotBinaryURL { _ = try HelperAddress(parsing: url) }
    }

    private func setAccess(_ request: inout SnapshotRequest) throws {
        request.plainHTTPHosts = access.plainHTTPHosts
        request.caFile = access.caFile.map(Places.absolutePath)
        request.credentialsFile = access.credsFile.map(Places.absolutePath)
        for file in [request.caFile, request.credentialsFile].compactMap({ $0 }) where Glibc.access(file, R_OK) != 0 {
            throw SnapshotError(.usage, "\(file) cannot be read: \(String(cString: strerror(errno)))")
        }
    }

    private func setKeeping(_ request: inout SnapshotRequest) throws {
        if let name = keeping.name { try Catalog.checkName(name) }
        request.name = keeping.name
        let labels = try LabelArgument.dictionary(keeping.labels)
        request.labels = labels.isEmpty ? nil : labels
        request.push = try keeping.push.map(pushReference)
        request.register = keeping.register ?? defaultTarget(request)
        request.sharesTo = request.register == .api ? nil : try sharesTo()
    }

    /// `--output`: a file, or for several images a directory, in which each has a file of its name.
    private func exportPath(for reference: ImageReference) throws -> String? {
        guard let output = snapshot.output.map(Places.absolutePath) else { return nil }
        var path = output
        if writesSeveral || image.count > 1 {
            var status = stat()
            guard stat(output, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
                throw SnapshotError(.usage, "--output \(output) must be a directory that is there, for several images")
            }
            path += "/" + reference.fileName + ".ext4"
        }
        try Places.checkExport(path)
        return path
    }

    /// What is pushed from elsewhere need not come here, unless something here wants it.
    private func defaultTarget(_ request: SnapshotRequest) -> RegisterTarget? {
        guard request.push != nil, case .api? = request.place, snapshot.output == nil, !snapshot.verifyBoot,
            request.name == nil, request.labels?.isEmpty ?? true
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

    /// Where snapshots go that other machines are to have: the setting, where the store is shared.
    private func sharesTo() throws -> String? {
        guard try stored.place(in: RecordedSnapshots.state()).configuration.isShared else { return nil }
        return try SharingPlace.setting()
    }

    /// What makes two calls the same request.
    private func requestLabel(_ request: SnapshotRequest) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return String(hexadecimal(SHA256.hash(data: try encoder.encode(request))).prefix(32))
    }
}

/// Where snapshots go that other machines are to have.
enum SharingPlace {
    /// - Returns: nil where nobody said.
    /// - Throws: `usage` where what was said is no repository.
    static func setting() throws -> String? {
        guard let text = nonEmpty(ProcessInfo.processInfo.environment["SNAPWF_PUSH"]) else { return nil }
        let reference = try? ImageReference(parsing: text + ":snap-0000000000000000")
        guard let reference, case .registry = reference.transport, reference.digest == nil, !text.contains("@") else {
            throw SnapshotError(
                .usage,
                "the setting push (SNAPWF_PUSH) must be a registry's repository without a tag, such as "
                    + "ghcr.io/acme/snapshots, not \"\(text)\"")
        }
        let full = reference.description
        return String(full[..<(full.lastIndex(of: ":") ?? full.endIndex)])
    }
}

extension ImageReference {
    /// A name for a file, of what the reference says after its last slash.
    fileprivate var fileName: String {
        let last = description.split(separator: "/").last.map(String.init) ?? description
        return String(last.map { $0.isLetter || $0.isNumber || $0 == "." || $0 == "_" ? $0 : "-" })
    }

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
