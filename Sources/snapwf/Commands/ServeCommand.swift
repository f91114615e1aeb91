import ArgumentParser
import Connect
import Files
import FoundationEssentials
import Glibc
import Logging
import Sandbox
import SandboxServer
import SnapshotSteps
import UnixSignals
import Workflow

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Serves this machine's sandboxes as depot.sandbox.v1, for snapwf run --api from elsewhere.",
        discussion: """
            Sandboxes outlive the server: started again on the same state, it serves them on. On a TCP address callers \
            need a token, from --token-file or SNAPWF_SERVE_TOKEN; a unix socket can be opened by its owner only.
            """)

    @Option(help: "Where to listen: HOST:PORT, or unix:PATH.")
    var listen = "127.0.0.1:7777"

    @Option(help: "A file that holds the token which callers must know. Default: SNAPWF_SERVE_TOKEN.")
    var tokenFile: String?

    @Option(help: "The organization that callers must name. Default: whichever they name.")
    var org: String?

    @Option(help: "The certificate chain for TLS, a PEM file.")
    var tlsCert: String?

    @Option(help: "The private key for TLS, a PEM file.")
    var tlsKey: String?

    @Flag(help: "Serve an address that other machines reach without TLS: token and all can be read on the way.")
    var allowPlaintext = false

    @Option(help: "How long calls may go on when the server is stopped.")
    var grace = Span(seconds: 10)

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard (tlsCert == nil) == (tlsKey == nil) else {
            throw ValidationError("--tls-cert and --tls-key belong together.")
        }
    }

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let configuration = try serverConfiguration()
            let session = try await Session.open(options, stored)
            let provider = session.provider
            let machines = session.machines
            let served = RoutedProvider(plain: provider, machines: machines)
            do {
                try await provider.check()
            } catch {
                await session.close()
                throw error
            }
            var serving = configuration
            serving.housekeeping = { await session.sweep() }
            let captures = SandboxCaptures(environment: session.environment, engine: session.engine)
            let images = ImageSnapshots(environment: session.environment, engine: session.engine)
            let store = CaptureStore(
                captures: captures, images: images, catalog: session.catalog, machines: machines)
            let service = SandboxService(provider: served, snapshots: store, logger: session.logger)
            do {
                try await captures.resume()
                let server = try SandboxServer(serving, service: service, logger: session.logger)
                try await serve(server, isEncrypted: tlsCert != nil)
                await session.engine.interrupt()
                await captures.stop()
            } catch let error as ConnectError {
                await session.close()
                throw SnapshotError(error.code == .invalidArgument ? .usage : .unavailable, error.message)
            }
            await session.close()
        }
    }

    @MainActor
    private func serve(_ server: SandboxServer, isEncrypted: Bool) async throws {
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
        let options = options
        try await server.run(
            onRunning: { address in
                let place = Self.describe(address, isEncrypted: isEncrypted)
                if options.json {
                    // Whoever started this program reads here when it may be called.
                    try? deliver(JSONText.line(ServingDocument(address: place)))
                } else if !options.quiet {
                    Terminal.standardError.write(
                        "snapwf: serving local sandboxes at \(place)\n  use it with: snapwf run --api \(place) IMAGE\n")
                }
            },
            until: {
                var iterator = signals.makeAsyncIterator()
                _ = await iterator.next()
                // A second one does not wait for calls that do not end.
                Task { if await iterator.next() != nil { _exit(130) } }
            })
        if !options.quiet { Terminal.standardError.write("snapwf: stopped; sandboxes go on\n") }
    }

    private static func describe(_ address: ServerAddress, isEncrypted: Bool) -> String {
        let text = address.description
        guard isEncrypted, text.hasPrefix("http://") else { return text }
        return "https://" + text.dropFirst("http://".count)
    }

    private func serverConfiguration() throws -> SandboxServerConfiguration {
        var configuration = SandboxServerConfiguration(address: try ListenAddress.parse(listen, example: 7777))
        configuration.organization = org
        configuration.allowsPlaintext = allowPlaintext
        configuration.grace = .seconds(grace.seconds)
        if let tlsCert, let tlsKey {
            configuration.tls = .init(certificateFile: tlsCert, keyFile: tlsKey)
        }
        do throws(ConnectError) {
            if let token = try tokenText() { configuration.token = try SecretToken(token) }
            try configuration.validate()
        } catch {
            var message = error.message
            if configuration.token == nil, case .tcp = configuration.address {
                message += ": head -c 24 /dev/urandom | base64 > token; snapwf serve --token-file token"
            }
            throw SnapshotError(.usage, message)
        }
        return configuration
    }

    private func tokenText() throws(ConnectError) -> String? {
        guard let tokenFile else {
            return nonEmpty(ProcessInfo.processInfo.environment["SNAPWF_SERVE_TOKEN"])
        }
        do {
            guard let bytes = try readFile(tokenFile, limit: 4096) else {
                throw ConnectError(.invalidArgument, "the token file \(tokenFile) is not there")
            }
            return String(decoding: bytes, as: UTF8.self)
        } catch let error as ConnectError {
            throw error
        } catch {
            throw ConnectError(.invalidArgument, "the token file cannot be read: \(error)")
        }
    }
}

/// `snapwf serve --json`, once it can be called.
struct ServingDocument: Encodable {
    let schema = 1
    let address: String
}
