import Files
import HelperInterface
import Sandbox
import Workflow

/// Has the sandbox fetch the helper itself from a URL: the program, an archive of it, or a release document that names
/// one of these.
///
/// A durable command for each download: whoever waits for it may die and come back.
struct HelperDownload {
    let environment: SnapshotEnvironment
    let sandbox: SandboxHandle
    let address: HelperAddress
    /// What tells the downloads of one step from others.
    let key: String

    private static let download = "/work/bin/snapshot.download"
    /// How often a release document may name another one.
    private static let mostHops = 3

    func run() async throws {
        var url = address.url
        for hop in 1...Self.mostHops {
            try await fetch(url, hop: hop)
            guard let next = try await install() else { return }
            url = next
        }
        throw SnapshotError(
            .helper, "\(address.url) leads from release document to release document; give the URL of the helper itself"
        )
    }

    private func fetch(_ url: String, hop: Int) async throws {
        let runner = DurableCommandRunner(
            provider: environment.provider, sandbox: sandbox.id, logger: environment.logger)
        let command = DurableCommand(
            key: "\(key)-\(hop)", arguments: ["/bin/sh", "-c", Self.fetchScript, "sh", url, Self.download])
        _ = try await runner.start(command)
        var said: [UInt8] = []
        let outcome = try await runner.wait(for: command.key, from: 0, deadline: .seconds(600)) { chunk, _ in
            said = (said + chunk).suffix(2000)
        }
        switch outcome {
        case .finished(exitCode: 0): return
        case .finished(exitCode: Self.noClient):
            throw SnapshotError(
                .helper,
                "the sandbox has neither curl nor wget to fetch the helper with: give --builder-image one that has, or "
                    + "leave --snapshot-binary-url out, and the helper is uploaded")
        case .finished(let code):
            let reason = String(decoding: said, as: UTF8.self).split(separator: "\n").last.map { ": \($0)" } ?? ""
            throw SnapshotError(
                .unavailable, "the sandbox could not fetch the helper from \(url) (exit code \(code))\(reason)",
                retryable: true)
        case .lost(let reason):
            throw SnapshotError(.helperDied, "the download of the helper vanished (\(reason))", retryable: true)
        case .sandboxGone(let reason):
            throw ResourceLost(reason: reason)
        }
    }

    /// Puts what came into its place.
    ///
    /// - Returns: the URL that a release document names instead.
    private func install() async throws -> String? {
        let output = try await environment.provider.run(
            .shell(Self.installScript, [Self.download, SandboxPaths.helper, address.sha256 ?? ""]), in: sandbox.id)
        switch output.exitCode {
        case 0: return nil
        case Self.isDocument:
            let document = try await environment.provider.readFile(Self.download, limit: 64 << 10, in: sandbox.id)
            return try HelperAddress.url(inReleaseDocument: document, from: address.url)
        case Self.wrongChecksum:
            throw SnapshotError(
                .helper, "what \(address.url) gave has another SHA-256 than the URL says: \(output.text.lastLine)")
        case Self.neither:
            throw SnapshotError(
                .helper,
                "\(address.url) gave neither a program, nor an archive that holds `snapshot`, nor a release document: "
                    + output.errorText.lastLine)
        default:
            throw SnapshotError(
                .helper, "the helper from \(address.url) could not be put in place: \(output.errorText.lastLine)",
                retryable: true)
        }
    }

    private static let noClient: Int32 = 91
    private static let isDocument: Int32 = 92
    private static let wrongChecksum: Int32 = 93
    private static let neither: Int32 = 94

    /// $1 the URL, $2 where to. Each try starts anew: a helper is a few megabytes.
    private static let fetchScript = """
        mkdir -p "${2%/*}" && rm -f "$2" || exit 1
        if command -v curl > /dev/null; then
            exec curl -fsSL --retry 4 --retry-connrefused --connect-timeout 20 -o "$2" -- "$1"
        elif command -v wget > /dev/null; then
            exec wget -q -T 60 -O "$2" -- "$1"
        fi
        exit \(noClient)
        """

    /// $1 what came, $2 where the helper belongs, $3 the checksum that what came must have, or empty.
    private static let installScript = """
        if [ -n "$3" ]; then
            sum=$(sha256sum < "$1") || exit 1
            [ "${sum%% *}" = "$3" ] || { echo "${sum%% *}"; exit \(wrongChecksum); }
        fi
        case $(head -c 4 "$1" | od -An -tx1 | tr -d ' \\n') in
        7f454c46) mv -f "$1" "$2.new" ;;
        1f8b*)
            name=$(tar -tzf "$1" | grep -E '(^|/)snapshot$' | head -n 1)
            [ -n "$name" ] || { echo "the archive holds no file named snapshot" >&2; exit \(neither); }
            tar -xzOf "$1" "$name" > "$2.new" || exit 1
            rm -f "$1" ;;
        7b*) exit \(isDocument) ;;
        2321*) mv -f "$1" "$2.new" ;;
        *) echo "it begins with $(head -c 60 "$1" | tr -cd '[:print:]')" >&2; exit \(neither) ;;
        esac
        chmod 755 "$2.new" && mv -f "$2.new" "$2"
        """
}

extension String {
    fileprivate var lastLine: String { split(separator: "\n").last.map(String.init) ?? "(it said nothing)" }
}
