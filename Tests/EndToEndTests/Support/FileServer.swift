import Foundation
import Testing

/// Files over HTTP on loopback: the helper in each form in which somebody may offer it.
final class FileServer: Sendable {
    let url: String
    private let child: Child
    private let directory: String

    /// Of the helper itself.
    var checksum: String {
        let text = (try? String(contentsOfFile: directory + "/checksum", encoding: .utf8)) ?? ""
        return String(text.prefix { $0 != " " })
    }

    init() async throws {
        directory = try makeTemporaryDirectory("files")
        let script = #"cd "$0" && exec python3 -u -m http.server --bind 127.0.0.1 0 > log 2>&1"#
        child = try Child("/bin/sh", ["-c", script, directory])
        let log = directory + "/log"
        var port: Substring?
        try await eventually("the file server listens") {
            let said = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
            port = said.firstMatch(of: /port ([0-9]+)/)?.1
            return port != nil
        }
        url = "http://127.0.0.1:\(port ?? "")/"
    }

    deinit {
        child.signal(SIGKILL)
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// How often a file was asked for, with or without a query.
    func requests(for file: String) -> Int {
        let said = (try? String(contentsOfFile: directory + "/log", encoding: .utf8)) ?? ""
        return said.split(separator: "\n").count {
            $0.contains("\"GET /\(file) ") || $0.contains("\"GET /\(file)?")
        }
    }

    func put(helper: String) async throws {
        let script = #"""
            cd "$0" && cp "$1" snapshot && sha256sum snapshot > checksum
            mkdir -p release/lib && cp snapshot release/ && tar -czf snapshot.tar.gz release
            printf '{"ok":true,"url":"%ssnapshot.tar.gz"}' "$2" > release.json
            archive=$(sha256sum < snapshot.tar.gz)
            printf '{"ok":true,"url":"%ssnapshot.tar.gz?signature=sesame#sha256=%s"}' "$2" "${archive%% *}" > signed.json
            printf '{"ok":true,"url":"%ssnapshot.tar.gz#sha256=%064d"}' "$2" 0 > wrong.json
            printf '{"ok":true,"url":"%snowhere?signature=sesame"}' "$2" > lost.json
            printf '{"ok":true,"url":"%sendless.json"}' "$2" > endless.json
            printf '{"ok":false,"error":"not today"}' > broken.json
            tar -czf empty.tar.gz checksum
            echo '<html>' > page.html
            """#
        try await tool("sh", "-ec", script, directory, helper, url)
    }
}
