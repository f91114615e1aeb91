internal import HTTPTypes
internal import HummingbirdCore
internal import NIOCore

/// A request, and what its head says in the protocol's terms.
struct IncomingCall: Sendable {
    let request: Request
    let channel: any Channel
    /// `package.Service/Method`, or any other path without its slash.
    let method: String
    /// Nil when the media type is none of the protocol's.
    let form: Form?
    let started = ContinuousClock.now

    struct Form: Sendable {
        let codec: Codec
        let isStream: Bool

        init?(_ mediaType: String) {
            for codec in Codec.allCases {
                for isStream in [false, true] where mediaType == (isStream ? codec.streamType : codec.unaryType) {
                    (self.codec, self.isStream) = (codec, isStream)
                    return
                }
            }
            return nil
        }

        var contentType: String { isStream ? codec.streamType : codec.unaryType }
    }

    init(_ request: Request, _ channel: any Channel) {
        self.request = request
        self.channel = channel
        method = (request.head.path ?? "").dropFirst().prefix { $0 != "?" }.description
        form = Form(mediaType(request.headers[.contentType] ?? ""))
    }

    /// Whether what goes back may be compressed.
    var acceptsGzip: Bool {
        request.headers.acceptsGzip(form?.isStream == true ? "connect-accept-encoding" : "accept-encoding")
    }

    func encoding() throws(ConnectError) -> ContentEncoding {
        let name = form?.isStream == true ? "connect-content-encoding" : "content-encoding"
        guard let encoding = ContentEncoding(header: request.headers[text: name]) else {
            throw ConnectError(.unimplemented, "this compression is not known: the server reads gzip and identity")
        }
        return encoding
    }

    func timeout() throws(ConnectError) -> Duration? {
        guard let text = request.headers[text: TimeoutHeader.name] else { return nil }
        return try TimeoutHeader.parse(text)
    }

    func checkVersion() throws(ConnectError) {
        guard let version = request.headers[text: "connect-protocol-version"], version != "1" else { return }
        throw ConnectError(.invalidArgument, "Connect-Protocol-Version must be 1")
    }
}
