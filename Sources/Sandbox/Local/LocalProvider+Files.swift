import CLinux
import Files
import Glibc

extension LocalProvider {
    // Files are written and read from inside: from outside, a symbolic link that the sandbox planted would lead
    // anywhere on the host.

    package func writeFile(
        _ path: String, mode: UInt16, contents: FileContents, in id: SandboxID
    ) async throws {
        guard path.hasPrefix("/"), !path.hasSuffix("/"), mode <= 0o7777 else {
            throw SandboxError(.invalidArgument, "\(path) is not an absolute path of a file, or its mode is not one")
        }
        let octal = String(mode, radix: 8)
        let output = try await onOwnThread(cancellable: { cancel in
            let input = try CommandInput(contents)
            let command = ShortCommand.shell(
                Self.writeScript, [path, octal, randomName(8), String(input.size)]
            )
            var patient = command
            // Room for slow disks: 4 MiB a second.
            patient.deadline = .seconds(30) + .seconds(Int64(input.size / (4 << 20)))
            return try runBlocking(patient, input: input, in: id, cancel: cancel)
        })
        guard output.exitCode == 0 else {
            let text = output.reason
            let full = text.contains("No space left") || text.contains("Disk quota")
            // The name is given last: who was killed has written nothing.
            throw SandboxError(
                full ? .outOfSpace : output.isKilled ? .unavailable : .commandFailed,
                "cannot write \(path) in sandbox \(id): \(text)"
            )
        }
    }

    /// $1 path, $2 mode, $3 a random name, $4 the size: a writer that died gave fewer bytes.
    static let writeScript = """
        set -e
        umask 022
        [ ! -d "$1" ] || { echo "$1 is a directory" >&2; exit 1; }
        case "$1" in /*/*) mkdir -p "${1%/*}" ;; esac
        aside="$1.$3.part"
        trap 'rm -f "$aside"' EXIT
        umask 077
        cat > "$aside"
        set -- "$1" "$2" "$3" "$4" $(ls -ln "$aside")
        [ "$9" = "$4" ] || { echo "$9 bytes came instead of $4" >&2; exit 1; }
        chmod "$2" "$aside"
        mv -f "$aside" "$1"
        """

    package func readFile(_ path: String, limit: Int, in id: SandboxID) async throws -> [UInt8] {
        var command = ShortCommand.shell(
            "[ -e \"$1\" ] || exit 44; [ -f \"$1\" ] || { echo 'not a regular file' >&2; exit 1; }; exec cat \"$1\"",
            [path]
        )
        command.outputLimit = limit
        command.deadline = .seconds(30) + .seconds(Int64(max(0, limit) / (4 << 20)))
        let output: CommandOutput
        do {
            output = try await run(command, in: id)
        } catch let error as SandboxError where error.code == .outputTooLarge {
            throw SandboxError(.outputTooLarge, "\(path) in sandbox \(id) is larger than \(limit) bytes")
        }
        if output.exitCode == 44 { throw SandboxError(.notFound, "there is no \(path) in sandbox \(id)") }
        guard output.exitCode == 0 else {
            // Who was killed has read nothing, and can be asked again.
            throw SandboxError(
                output.isKilled ? .unavailable : .commandFailed,
                "cannot read \(path) in sandbox \(id): \(output.reason)")
        }
        return output.standardOutput
    }

    /// Whether a path below a directory of the host stays there and leads through no symbolic link, as far as it
    /// exists.
    func staysBeneath(_ path: String, _ directory: String) -> Bool {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard !parts.contains(where: { ["", ".", ".."].contains($0) }), !path.utf8.contains(0) else { return false }
        let top = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard top >= 0 else { return false }
        defer { close(top) }
        var known = parts[...]
        while !known.isEmpty {
            let result = clinux_open_beneath(top, known.joined(separator: "/"))
            if result >= 0 {
                close(result)
                return true
            }
            guard result == -ENOENT else { return false }
            known = known.dropLast()
        }
        return true
    }
}

extension String {
    /// Without white space at the ends.
    var trimmed: String {
        String(drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
    }
}
