import Hummingbird

// A route that does nothing but answer: what the HTTP server itself costs, beside `snapwf serve`.
// usage: bare-route PORT
let port = CommandLine.arguments.dropFirst().first.flatMap(Int.init) ?? 7788
let body = #"{"sandbox":{"sandboxId":"sb-00000000000000000000","status":"SANDBOX_STATUS_RUNNING"}}"#
let router = Router()
router.post("/route") { request, _ in
    _ = try await request.body.collect(upTo: 1 << 20)
    return Response(
        status: .ok, headers: [.contentType: "application/json"], body: .init(byteBuffer: ByteBuffer(string: body)))
}
try await Application(router: router, configuration: .init(address: .hostname("127.0.0.1", port: port))).run()
