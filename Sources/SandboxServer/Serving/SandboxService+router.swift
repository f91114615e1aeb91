package import Connect
import Logging
import Sandbox
import SandboxAPI

extension SandboxService {
    /// Every call that this service answers. The others of the API, GetCommand, ListCommands, KillCommand and
    /// AttachCommand, are in no route, so they are `unimplemented`: nothing of a command is kept once it is over.
    package func router() -> ConnectRouter {
        var router = ConnectRouter()
        addSandboxes(to: &router)
        addFiles(to: &router)
        addStreams(to: &router)
        addSnapshots(to: &router)
        router.page("/healthz", "ok\n")
        router.onCall = { [logger] call in
            let code = call.code?.rawValue ?? "ok"
            logger.debug("\(call.method) \(code) \(call.duration.wholeMilliseconds) ms")
        }
        return router
    }

    private func addSandboxes(to router: inout ConnectRouter) {
        add(SandboxMethods.createSandbox, createSandbox, to: &router)
        add(SandboxMethods.getSandbox, getSandbox, to: &router)
        add(SandboxMethods.listSandboxes, listSandboxes, to: &router)
        add(SandboxMethods.stopSandbox, stopSandbox, to: &router)
        add(SandboxMethods.killSandbox, killSandbox, to: &router)
        add(SandboxMethods.setSandboxTimeout, setSandboxTimeout, to: &router)
    }

    private func addFiles(to router: inout ConnectRouter) {
        add(SandboxMethods.mkdir, mkdir, to: &router)
        add(SandboxMethods.stat, stat, to: &router)
        add(SandboxMethods.readDir, readDir, to: &router)
        add(SandboxMethods.remove, remove, to: &router)
        add(SandboxMethods.rename, rename, to: &router)
        add(SandboxMethods.copyFile, copyFile, to: &router)
        add(SandboxMethods.truncate, truncate, to: &router)
        add(SandboxMethods.chmod, chmod, to: &router)
        add(SandboxMethods.chown, chown, to: &router)
        add(SandboxMethods.symlink, symlink, to: &router)
        add(SandboxMethods.readlink, readlink, to: &router)
        add(SandboxMethods.access, access, to: &router)
    }

    private func addStreams(to router: inout ConnectRouter) {
        router.serverStream(SandboxMethods.runCommand) { request, _, sink in
            try await answering { try await runCommand(request) { try await sink.send($0) } }
        }
        router.serverStream(SandboxMethods.readFile) { request, _, sink in
            try await answering { try await readFile(request) { try await sink.send($0) } }
        }
        router.clientStream(SandboxMethods.writeFile) { stream, _ in
            try await answering { try await writeFile { try await stream.next() } }
        }
    }

    private func addSnapshots(to router: inout ConnectRouter) {
        add(SandboxMethods.snapshotSandbox, snapshotSandbox, to: &router)
        add(SandboxMethods.getSnapshot, getSnapshot, to: &router)
        add(SandboxMethods.listSnapshots, listSnapshots, to: &router)
        add(SandboxMethods.deleteSnapshot, deleteSnapshot, to: &router)
    }

    private func add<Request, Response>(
        _ method: Method<Request, Response>, _ handler: @escaping @Sendable (Request) async throws -> Response,
        to router: inout ConnectRouter
    ) {
        router.unary(method) { request, _ in try await answering { try await handler(request) } }
    }
}
