package import Connect

/// The calls of `depot.sandbox.v1.SandboxService`, as proto/depot/sandbox/v1/service.proto lists them.
package enum SandboxMethods {
    package static let service = "depot.sandbox.v1.SandboxService"

    // Two sandboxes come of two calls, so an unknown outcome is looked into and never repeated.
    package static let createSandbox: Method<CreateSandboxRequest, CreateSandboxResponse> =
        unary("CreateSandbox", .once)
    package static let getSandbox: Method<SandboxRef, GetSandboxResponse> =
        unary("GetSandbox", .safe)
    package static let listSandboxes: Method<ListSandboxesRequest, ListSandboxesResponse> =
        unary("ListSandboxes", .safe)
    package static let stopSandbox: Method<StopSandboxRequest, StopSandboxResponse> =
        unary("StopSandbox", .idempotent)
    package static let killSandbox: Method<KillSandboxRequest, KillSandboxResponse> =
        unary("KillSandbox", .idempotent)
    package static let setSandboxTimeout: Method<SetSandboxTimeoutRequest, SetSandboxTimeoutResponse> =
        unary("SetSandboxTimeout", .idempotent)

    package static let runCommand: Method<RunCommandRequest, CommandEvent> =
        serverStream("RunCommand", .once)
    package static let attachCommand: Method<AttachCommandRequest, CommandEvent> =
        serverStream("AttachCommand", .safe)

    package static let mkdir: Method<MkdirRequest, MkdirResponse> =
        unary("Mkdir", .once)
    package static let stat: Method<StatRequest, StatResponse> =
        unary("Stat", .safe)
    package static let readDir: Method<ReadDirRequest, ReadDirResponse> =
        unary("ReadDir", .safe)
    package static let remove: Method<RemoveRequest, RemoveResponse> =
        unary("Remove", .once)
    package static let rename: Method<RenameRequest, RenameResponse> =
        unary("Rename", .once)
    package static let copyFile: Method<CopyFileRequest, CopyFileResponse> =
        unary("CopyFile", .idempotent)
    package static let truncate: Method<TruncateRequest, TruncateResponse> =
        unary("Truncate", .idempotent)
    package static let chmod: Method<ChmodRequest, ChmodResponse> =
        unary("Chmod", .idempotent)
    package static let chown: Method<ChownRequest, ChownResponse> =
        unary("Chown", .idempotent)
    package static let symlink: Method<SymlinkRequest, SymlinkResponse> =
        unary("Symlink", .once)
    package static let readlink: Method<ReadlinkRequest, ReadlinkResponse> =
        unary("Readlink", .safe)
    package static let access: Method<AccessRequest, AccessResponse> =
        unary("Access", .safe)
    package static let readFile: Method<ReadFileRequest, ReadFileResponse> =
        serverStream("ReadFile", .safe)
    package static let writeFile = Method<WriteFileRequest, WriteFileResponse>(
        service: service, name: "WriteFile", kind: .clientStream, repeatability: .once)

    package static let snapshotSandbox: Method<SnapshotSandboxRequest, SnapshotSandboxResponse> =
        unary("SnapshotSandbox", .once)
    package static let getSnapshot: Method<SnapshotRef, GetSnapshotResponse> =
        unary("GetSnapshot", .safe)
    package static let listSnapshots: Method<ListSnapshotsRequest, ListSnapshotsResponse> =
        unary("ListSnapshots", .safe)
    package static let deleteSnapshot: Method<DeleteSnapshotRequest, DeleteSnapshotResponse> =
        unary("DeleteSnapshot", .idempotent)

    private static func unary<Request, Response>(
        _ name: String, _ repeatability: Repeatability
    ) -> Method<Request, Response> {
        Method(service: service, name: name, kind: .unary, repeatability: repeatability)
    }

    private static func serverStream<Request, Response>(
        _ name: String, _ repeatability: Repeatability
    ) -> Method<Request, Response> {
        Method(service: service, name: name, kind: .serverStream, repeatability: repeatability)
    }
}
