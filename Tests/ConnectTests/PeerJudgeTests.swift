import Foundation
import TestSupport
import Testing

@testable import Connect

/// Where `scripts/setup test` put the package, or another place.
private let peerPython: String? = {
    let set = ProcessInfo.processInfo.environment["SNAPWF_PEER_PYTHON"]
    let path = set ?? FileManager.default.currentDirectoryPath + "/.build-peer-python/bin/python"
    return FileManager.default.isExecutableFile(atPath: path) ? path : nil
}()

/// The client of the Python package `connectrpc` judges the server: its author knows nothing of this code.
@Suite(
    "An independent client", .timeLimit(.minutes(2)),
    .enabled(if: peerPython != nil, "needs the Python package connectrpc: scripts/setup test"))
struct PeerJudgeTests {
    @Test(
        "gets right answers in both codecs, compressed and not, over HTTP/1.1 and HTTP/2", arguments: [false, true])
    func judge(isEncrypted: Bool) async throws {
        let python = try #require(peerPython)
        let certificates = try await Certificates()
        let directory = try TemporaryDirectory()
        try directory.write(Array(Self.script.utf8), to: "judge.py")
        try await withServer(.echo(), adjust: { if isEncrypted { $0.tls = certificates.tls } }) { address in
            let url = address.description.replacingOccurrences(of: "127.0.0.1", with: "localhost")
            let output = try await Command.run(
                python, ["\(directory.path)/judge.py", url] + (isEncrypted ? [certificates.ca] : []))
            #expect(String(decoding: output, as: UTF8.self) == "judged 8\n")
        }
    }

    private static let script = #"""
        import sys, json
        from connectrpc.client import ConnectClientSync
        from connectrpc.code import Code
        from connectrpc.codec import proto_binary_codec, proto_json_codec
        from connectrpc.errors import ConnectError
        from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
        from connectrpc.compression.gzip import GzipCompression
        from protobuf.wkt.google.protobuf.wrappers_pb import Int64Value, StringValue
        from pyqwest import SyncClient, SyncHTTPTransport, HTTPVersion

        url, ca = sys.argv[1], sys.argv[2:]
        def method(name, kind, q=StringValue):
            return MethodInfo(name=name, service_name="test.Echo", input=q, output=StringValue,
                              idempotency_level=IdempotencyLevel.UNKNOWN, stream_type=kind)
        U, S, C = StreamType.UNARY, StreamType.SERVER_STREAM, StreamType.CLIENT_STREAM
        def code(call):
            try:
                call()
            except ConnectError as error:
                return error
            raise SystemExit("no error")

        checks = 0
        for version in (HTTPVersion.HTTP1, HTTPVersion.HTTP2):
            options = {"http_version": version}
            if ca: options["tls_ca_cert"] = open(ca[0], "rb").read()
            http = SyncClient(SyncHTTPTransport(**options))
            for codec in (proto_binary_codec(), proto_json_codec()):
                for compression in (None, GzipCompression()):
                    client = ConnectClientSync(url, codec=codec, send_compression=compression, http_client=http)
                    for size in (0, 1, 5000, 1000000):
                        text = "ä" * size
                        assert client.execute_unary(request=StringValue(value=text), method=method("Echo", U)).value == text
                    got = list(client.execute_server_stream(request=Int64Value(value=100), method=method("Count", S, Int64Value)))
                    assert [m.value for m in got] == [f"message {i}" for i in range(100)]
                    assert list(client.execute_server_stream(request=Int64Value(value=0), method=method("Count", S, Int64Value))) == []
                    parts = [str(i) * (i * 10) for i in range(50)]
                    joined = client.execute_client_stream(request=(StringValue(value=p) for p in parts), method=method("Join", C))
                    assert joined.value == " ".join(parts)
                    for c in Code:
                        error = code(lambda: client.execute_unary(request=StringValue(value=c.value), method=method("Fail", U)))
                        assert (error.code, error.message) == (c, f"it is {c.value}"), error
                        detail = error.details[0]
                        assert (detail.type_name, detail.message_bytes) == ("test.Detail", bytes([0, 1, 254, 255]))
                    def drain(): list(client.execute_server_stream(request=Int64Value(value=3), method=method("FailAfter", S, Int64Value)))
                    error = code(drain)
                    assert (error.code, error.message) == (Code.DATA_LOSS, "after 3")
                    assert code(lambda: client.execute_unary(request=StringValue(), method=method("Nothing", U))).code == Code.UNIMPLEMENTED
                    assert code(lambda: client.execute_unary(request=StringValue(), method=method("Wait", U), timeout_ms=50)).code == Code.DEADLINE_EXCEEDED
                    assert code(lambda: client.execute_client_stream(request=iter([StringValue(value="x")] * 3), method=method("Refuse", C))).code == Code.FAILED_PRECONDITION
                    checks += 1
        print("judged", checks)

        """#
}
