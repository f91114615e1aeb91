import Files
import HelperInterface
import Sandbox
import Workflow

/// Has the sandbox fetch the helper itself from a URL: the program, an archive of it, or a release document that names
/// one of these.
///
/// A durable command for each download: whoever waits for it may die and come back. Each has a file of its own, so a
/// document that was fetched is still there when what it names is being fetched.
struct HelperDownload {
    let environment: SnapshotEnvironment
    let sandbox: SandboxHandle
    let address: HelperAddress
    let step: StepContext

    /// How many downloads there may be, release documents and the helper together.
    private static let mostHops = 3
    /// The name of the secret that holds the URL.
    private static let secret = "url"

    /// What the next attempt must know.
    private struct Checkpoint: Codable {
        /// Raised when a download, or what was done with it, failed, so that the next attempt starts others.
        var command = 1
    }

    func run() async throws {
        let command = (step.lastProgress(as: Checkpoint.self) ?? Checkpoint()).command
        do {
            try await follow(command: command)
        } catch let error as SnapshotError where error.code != .helperDied {
            // A command that vanished is started again under its own name.
            try await step.report(Checkpoint(command: command + 1))
            throw error
        }
    }

    private func follow(command: Int) async throws {
        var way: [HelperAddress] = []
        var next: HelperAddress? = address
        while let here = next {
            guard way.count < Self.mostHops else {
                throw SnapshotError(
                    .helper,
                    "\(address) leads from release document to release document; give the URL of the helper itself")
            }
            way.append(here)
            let file = "\(SandboxPaths.helper).download-\(command)-\(way.count)"
            try await fetch(here, to: file, key: "helper-\(step.idempotencyKey)-\(command)-\(way.count)")
            next = try await install(file, way: way, from: here)
        }
    }

    private func fetch(_ address: HelperAddress, to file: String, key: String) async throws {
        let runner = environment.commands(in: sandbox)
        let command = DurableCommand(
            key: key,
            arguments: ["/bin/sh", "-c", Self.fetchScript, "sh", runner.secretPath(Self.secret, of: key), file],
            secrets: [Self.secret: Array(address.url.utf8)])
        _ = try await runner.start(command)
        environment.probe("fetch-helper:start.after")
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
            let last = String(decoding: said, as: UTF8.self).split(separator: "\n").last
            // Clients name URLs to which they were redirected.
            let reason = last.map { ": " + HelperAddress.withoutQueries(String($0)) } ?? ""
            throw SnapshotError(
                .unavailable, "the sandbox could not fetch the helper from \(address) (exit code \(code))\(reason)",
                retryable: !Self.refusals.contains(code))
        case .lost(let reason):
            throw SnapshotError(.helperDied, "the download of the helper vanished (\(reason))", retryable: true)
        case .sandboxGone(let reason):
            throw ResourceLost(reason: reason)
        }
    }

    /// Puts what came into its place. Killed anywhere, it can be done again, or the helper is in its place.
    ///
    /// - Parameter way: every address that led here: the checksums of all of them must hold.
    /// - Returns: the address that a release document names instead.
    private func install(
        _ file: String, way: [HelperAddress], from here: HelperAddress
    ) async throws -> HelperAddress? {
        let output = try await environment.provider.run(
            .shell(Self.installScript, [file, SandboxPaths.helper] + way.compactMap(\.sha256)), in: sandbox.id)
        switch output.exitCode {
        case 0: return nil
        case Self.isDocument:
            let document = try await environment.provider.readFile(file, limit: 64 << 10, in: sandbox.id)
            return try HelperAddress.inReleaseDocument(document, from: here)
        case Self.wrongChecksum:
            let sum = output.text.lastLine
            let asking = way.first { $0.sha256 != nil && $0.sha256 != sum } ?? here
            let source = asking == here ? "the URL" : "\(asking)"
            throw SnapshotError(.helper, "what \(here) gave has another SHA-256 than \(source) says: \(sum)")
        case Self.neither:
            throw SnapshotError(
                .helper,
                "\(here) gave neither a program, nor an archive that holds `snapshot`, nor a release document: "
                    + output.errorText.lastLine)
        default:
            throw SnapshotError(
                .helper, "the helper from \(here) could not be put in place: \(output.errorText.lastLine)",
                retryable: true)
        }
    }

    /// The server answers, and has no such thing: curl's and wget's exit codes, after their own repetitions.
    private static let refusals: Set<Int32> = [22, 8]
    private static let noClient: Int32 = 91
    static let isDocument: Int32 = 92
    static let wrongChecksum: Int32 = 93
    static let neither: Int32 = 94

    /// $1 the file that holds the URL, $2 where to. Each try starts anew: a helper is a few megabytes.
    ///
    /// The URL goes to the client by its standard input, where nobody else reads it; busybox's wget takes it as an
    /// argument only, and with -T some builds of it crash (Debian's 1.35).
    static let fetchScript = """
        mkdir -p "${2%/*}" && rm -f "$2" || exit 1
        umask 077
        url=$(cat "$1") && rm -f "$1" && [ -n "$url" ] || exit 1
        if command -v curl > /dev/null; then
            printf 'url = "%s"\\n' "$url" | curl -fsSLg --retry 4 --retry-connrefused --connect-timeout 20 \\
                --speed-limit 1 --speed-time 60 -o "$2" -K -
        elif ! command -v wget > /dev/null; then
            exit \(noClient)
        elif wget --help 2>&1 | grep -q -e --input-file; then
            printf '%s\\n' "$url" | wget -q -T 60 -O "$2" -i -
        else
            wget -q -O "$2" -- "$url"
        fi
        """

    /// $1 what came, $2 where the helper belongs, then the checksums that what came must have.
    ///
    /// Nothing is at $2 that is not whole, and what came is there until the helper is: the rename comes last but for
    /// the removal of what is not needed then.
    static let installScript = """
        came=$1 helper=$2
        shift 2
        [ -f "$came" ] || { echo "the download is gone" >&2; exit 1; }
        magic=$(head -c 4 "$came" | od -An -tx1 | tr -d ' \\n') || exit 1
        case $magic in
        7b*) exit \(isDocument) ;;
        7f454c46 | 2321* | 1f8b*) ;;
        *) echo "it begins with $(head -c 60 "$came" | tr -cd '[:print:]')" >&2; exit \(neither) ;;
        esac
        sum=
        for wanted; do
            [ -n "$sum" ] || sum=$(sha256sum < "$came") || exit 1
            [ "${sum%% *}" = "$wanted" ] || { echo "${sum%% *}"; exit \(wrongChecksum); }
        done
        new=$came
        case $magic in
        1f8b*)
            name=$(tar -tzf "$came" | grep -E '(^|/)snapshot$' | head -n 1)
            [ -n "$name" ] || { echo "the archive holds no file named snapshot" >&2; exit \(neither); }
            # Of its own: a script whose caller died may still be at it.
            new=$(mktemp "$helper.new-XXXXXX") && tar -xzOf "$came" "$name" > "$new" || exit 1
            [ -s "$new" ] || { echo "snapshot is empty in the archive" >&2; exit \(neither); } ;;
        esac
        chmod 755 "$new" && mv -f "$new" "$helper" || exit 1
        rm -f "$helper".download-* "$helper".new-*
        exit 0
        """
}

extension String {
    fileprivate var lastLine: String { split(separator: "\n").last.map(String.init) ?? "(it said nothing)" }
}
