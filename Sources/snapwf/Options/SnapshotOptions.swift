import ArgumentParser
import SnapshotSteps

/// What is made of an image.
struct SnapshotOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: "Also put a copy of the ext4 file here; a directory for several images.")
    var output: String?

    @Option(help: "The size of the file system, such as 10GiB. Default: as small as the content allows.")
    var size: String?

    @Flag(help: "Append a dm-verity hash tree; the snapshot's document names its root hash.")
    var verity = false

    @Option(help: "The platform to choose from an index, such as linux/arm64. Default: this machine's.")
    var platform: String?

    @Flag(help: "Boot the snapshot once in a virtual machine before it is kept.")
    var verifyBoot = false
}

/// Who keeps what was made, and under which name.
struct KeepingOptions: ParsableArguments {
    @Option(help: "What the snapshot is called from now on; the snapshot that had the name loses it.")
    var name: String?

    @Option(name: .customLong("label"), help: "A label of the snapshot, as NAME=VALUE. May be repeated.")
    var labels: [LabelArgument] = []

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
}

extension RegisterTarget: ExpressibleByArgument {}

/// What the sandbox is like.
struct MachineOptions: ParsableArguments {
    @Option(help: "Virtual processors of the sandbox.")
    var vcpus: Int?

    @Option(help: "Memory of the sandbox, such as 2GiB.")
    var memory: String?

    @Option(help: "Disk of the sandbox, such as 20GiB. Default: by the size of the image.")
    var disk: String?

    @Option(help: "How long the sandbox lives on when nobody looks after it.")
    var ttl = Span(seconds: SnapshotRequest.defaultTimeToLive)

    @Option(help: "What the sandbox boots from: an image where its provider pulls one, a snapshot for --sandbox vm.")
    var builderImage: String?

    @Option(
        name: .customLong("snapshot-binary-url"),
        help: """
            Where the sandbox fetches the helper from: the program, a .tar.gz that holds it, or a release document; \
            #sha256=… is checked. Default: the helper beside snapwf is uploaded.
            """)
    var snapshotBinaryURL: String?

    func validate() throws {
        guard ttl.seconds >= 30 else { throw ValidationError("--ttl must be at least 30s.") }
        guard vcpus.map({ (1...1024).contains($0) }) ?? true else {
            throw ValidationError("--vcpus must be from 1 to 1024.")
        }
    }
}

/// How the image's registry is reached, and as whom.
struct ImageAccessOptions: ParsableArguments {
    @Option(help: "Credentials, in the form of docker's config.json. Default: docker's own.", completion: .file())
    var credsFile: String?

    @Option(name: .customLong("plain-http"), help: "A registry host that is spoken to without TLS. May be repeated.")
    var plainHTTPHosts: [String] = []

    @Option(help: "A PEM file of certificates to trust besides the system's.", completion: .file())
    var caFile: String?
}
