import Foundation
import Glibc
import Testing

@testable import EXT4

/// An OCI layout of one layer, made by Python's tarfile.
private struct TestLayout {
    let directory: TemporaryDirectory
    var reference: String { "oci:\(directory.path)/layout:latest" }

    private static let script = """
        import hashlib, io, json, os, sys, tarfile
        path, created, members = sys.argv[1], sys.argv[2], sys.argv[3]
        os.makedirs(path + "/blobs/sha256")
        def blob(data, kind):
            digest = hashlib.sha256(data).hexdigest()
            with open(f"{path}/blobs/sha256/{digest}", "wb") as file: file.write(data)
            return {"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + digest, "size": len(data)}
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            def add(name, data=b"", **fields):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                for field, value in fields.items(): setattr(member, field, value)
                archive.addfile(member, io.BytesIO(data))
            exec(members)
        layer = blob(buffer.getvalue(), "layer.v1.tar")
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
        if created: config["created"] = created
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": blob(json.dumps(config).encode(), "config.v1+json"), "layers": [layer]}
        entry = blob(json.dumps(manifest).encode(), "manifest.v1+json")
        entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
        with open(path + "/index.json", "w") as file: json.dump({"schemaVersion": 2, "manifests": [entry]}, file)
        with open(path + "/oci-layout", "w") as file: file.write('{"imageLayoutVersion":"1.0.0"}')
        """

    /// - Parameter members: Python that calls `add(name, data, **fields)`.
    init(created: String = "2023-11-14T22:13:20Z", members: String) throws {
        directory = try TemporaryDirectory()
        let made = try run(["python3", "-c", TestLayout.script, directory.path + "/layout", created, members])
        try #require(made.status == 0, "\(made.errors)")
    }

    /// The image's path and the result document.
    func pull(_ arguments: String..., environment: [String] = []) throws -> (path: String, result: [String: Any]) {
        let path = "\(directory.path)/\(UUID().uuidString).ext4"
        let pulled = try SnapshotProgram.run(
            ["pull", "--platform", "linux/amd64", "-o", path] + arguments + [reference], environment: environment)
        try #require(pulled.status == 0, "\(pulled.errors)")
        let document = try String(contentsOfFile: path + ".json", encoding: .utf8)
        return (path, try SnapshotProgram.object(document))
    }

    func refusal(_ arguments: String..., environment: [String] = []) throws -> CommandResult {
        try SnapshotProgram.run(
            ["pull", "--platform", "linux/amd64", "-o", directory.path + "/refused"] + arguments + [reference],
            environment: environment)
    }
}

@Suite("snapshot pull: what decides the file system")
struct PullTests {
    private static let small = "add('etc', type=tarfile.DIRTYPE, mode=0o755); add('etc/a', b'x' * 100000)"

    @Test("--verity: veritysetup verifies the tree, e2fsck and our reader the image, and one bit of data is found")
    func verity() throws {
        let layout = try TestLayout(members: Self.small)
        let (path, result) = try layout.pull("--verity")
        let tree = try #require(result["verity"] as? [String: Any])
        let root = try #require(tree["rootHash"] as? String)
        let offset = try #require(tree["hashOffset"] as? Int)
        let verified = try run(["veritysetup", "verify", path, path, root, "--hash-offset=\(offset)"])
        #expect(verified.status == 0, "\(verified.errors)")
        let dump = try run(["veritysetup", "dump", path, "--hash-offset=\(offset)"]).output
        for field in ["salt", "uuid"] {
            let value = try #require(tree[field] as? String)
            #expect(dump.contains(value), "\(dump)")
        }
        #expect(
            dump.contains("Hash algorithm:  \tsha256") && dump.contains("Data blocks:     \t\(offset / 4096)"),
            "\(dump)")
        try TestImage.check(path)
        let sound = try SnapshotProgram.run("verify", path)
        #expect(
            sound.status == 0 && sound.output.contains("root \(root)") && sound.output.contains("sha256"), "\(sound)")
        let inspected = try SnapshotProgram.object(try SnapshotProgram.run("inspect", "--json", path).output)
        #expect((inspected["verity"] as? [String: Any])?["rootHash"] as? String == root)
        let source = try #require(inspected["source"] as? [String: Any])
        #expect(source["manifestDigest"] as? String == result["manifestDigest"] as? String)
        let sha256 = try #require(result["sha256"] as? String)
        #expect(try run(["sha256sum", path]).output.hasPrefix(sha256))

        let again = try layout.pull("--verity")
        #expect(try run(["cmp", path, again.path]).status == 0)
        let plain = try layout.pull()
        #expect(plain.result["key"] as? String != result["key"] as? String && plain.result["verity"] == nil)

        // A file's bytes have no checksum in ext4, but here they have.
        let data = try run(["grep", "-abo", "-m", "1", "xxxxxxxx", path]).output
        let place = try #require(Int(data.prefix { $0 != ":" }))
        let descriptor = open(path, O_RDWR)
        defer { close(descriptor) }
        try #require(pwrite(descriptor, "y", 1, off_t(place)) == 1)
        let bad = try SnapshotProgram.run("verify", path)
        #expect(bad.status == 5 && bad.output.contains("block \(place / 4096) differs"), "\(bad)")
        #expect(bad.output.contains("SHA-256"), "\(bad)")
    }

    @Test("the date is the image's, in whatever year, or the one that SOURCE_DATE_EPOCH asks for")
    func dates() throws {
        for (created, made) in [
            ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20Z"), ("2234-01-02T03:04:05Z", "2234-01-02T03:04:05Z"),
            ("", "1970-01-01T00:00:00Z"), ("1950-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("9999-01-01T00:00:00Z", "2310-04-04T16:10:39Z"),
        ] {
            let layout = try TestLayout(created: created, members: Self.small)
            let (path, result) = try layout.pull()
            try TestImage.check(path)
            let inspected = try SnapshotProgram.object(try SnapshotProgram.run("inspect", "--json", path).output)
            #expect(inspected["made"] as? String == made, "\(created)")
            #expect(result["sourceDateEpoch"] == nil && (result["warnings"] as? [String]) == [])
        }
        let layout = try TestLayout(members: Self.small)
        let plain = try layout.pull()
        let empty = try layout.pull(environment: ["SOURCE_DATE_EPOCH="])
        #expect(plain.result["key"] as? String == empty.result["key"] as? String)
        let dated = try layout.pull(environment: ["SOURCE_DATE_EPOCH=1000000000"])
        #expect(dated.result["sourceDateEpoch"] as? Int == 1_000_000_000)
        #expect(dated.result["key"] as? String != plain.result["key"] as? String)
        let inspected = try SnapshotProgram.object(try SnapshotProgram.run("inspect", "--json", dated.path).output)
        #expect(inspected["made"] as? String == "2001-09-09T01:46:40Z")
        let refused = try layout.refusal(environment: ["SOURCE_DATE_EPOCH=yesterday"])
        #expect(refused.status == 64 && refused.errors.contains("SOURCE_DATE_EPOCH"), "\(refused)")
    }

    @Test("--size is refused at once where no file system is that large")
    func size() throws {
        let layout = try TestLayout(members: Self.small)
        let refused = try layout.refusal("--size", "8185GiB")
        #expect(refused.status == 64 && refused.errors.contains("8184GiB"), "\(refused)")
        let nonsense = try layout.refusal("--size", "large")
        #expect(nonsense.status == 64, "\(nonsense)")
        let (path, result) = try layout.pull("--size", "1GiB")
        #expect(result["size"] as? Int == 1 << 30)
        try TestImage.check(path)
    }

    @Test("70,000 names of one file are more than ext4 can count: the error says so")
    func hardLinks() throws {
        let layout = try TestLayout(
            members: "add('f', b'x'); [add(f'n{i}', type=tarfile.LNKTYPE, linkname='f') for i in range(70000)]")
        let refused = try layout.refusal()
        #expect(refused.status == 5 && refused.errors.contains("65000 names"), "\(refused)")
        #expect(!FileManager.default.fileExists(atPath: layout.directory.path + "/refused"))
    }

    @Test("owners to 2^32 - 2, times from 1901 to 2446 and beyond, and a file of 6 GiB are as the kernel shows them")
    func extremes() throws {
        let layout = try TestLayout(
            members: """
                add('owner', uid=2**32-2, gid=2**32-2)
                for name, time in [('first', -2**31), ('last', 2**34-2**31-1), ('before', -2**40), ('after', 2**40)]:
                    add(name, mtime=time)
                add('sparse', b'end', pax_headers={'GNU.sparse.major': '0', 'GNU.sparse.minor': '1',
                    'GNU.sparse.size': str(6*2**30), 'GNU.sparse.map': f'{6*2**30-3},3', 'GNU.sparse.name': 'sparse'})
                """)
        let (path, _) = try layout.pull()
        try TestImage.check(path)
        try TestImage.mounted(path, readOnly: true) { point, _ in
            func status(_ name: String) throws -> stat {
                var status = stat()
                try #require(stat("\(point)/\(name)", &status) == 0)
                return status
            }
            let owner = try status("owner")
            #expect(owner.st_uid == .max - 1 && owner.st_gid == .max - 1)
            for (name, seconds) in [
                ("first", -(1 << 31)), ("before", -(1 << 31)), ("last", (1 << 34) - (1 << 31) - 1),
                ("after", (1 << 34) - (1 << 31) - 1),
            ] {
                let found = try status(name).st_mtim.tv_sec
                #expect(found == seconds, "\(name)")
            }
            let sparse = try status("sparse")
            #expect(sparse.st_size == 6 << 30 && sparse.st_blocks == 8)
            let end = try run(["tail", "-c", "5", "\(point)/sparse"]).output
            #expect(end == "\0\0end")
        }
        #expect(try SnapshotProgram.run("verify", path).status == 0)
    }
}
