import Proxies
import SwiftProtobuf
import Testing

@testable import Connect

@Suite("Addresses, proxies and secrets")
struct AddressTests {
    @Test(
        "an address leads to where its calls are",
        arguments: [
            ("https://api.depot.dev", "https://api.depot.dev/s/M"),
            ("HTTPS://API.depot.dev:443/", "https://api.depot.dev/s/M"),
            ("http://builder:7777", "http://builder:7777/s/M"), ("http://h/prefix/", "http://h/prefix/s/M"),
            ("http://[::1]:80", "http://[::1]/s/M"), ("http://[fe80::1]:81/x", "http://[fe80::1]:81/x/s/M"),
            ("unix:/run/a b.sock", "http+unix://%2Frun%2Fa%20b.sock/s/M"),
            ("unix:///run/x", "http+unix://%2Frun%2Fx/s/M"), ("http+unix://%2Frun%2Fx", "http+unix://%2Frun%2Fx/s/M"),
        ])
    func right(text: String, url: String) throws {
        #expect(try ServerAddress(text).url("s/M") == url)
    }

    @Test(
        "what is no address is refused with words about what is one",
        arguments: [
            "", "builder:7777", "ftp://x", "http://", "http://user:secret1@x", "http://x?q=1", "http://x#f",
            "http://x:99999", "unix:relative", "unix:/" + String(repeating: "x", count: 107), "http://\0",
        ])
    func wrong(text: String) {
        #expect {
            try ServerAddress(text)
        } throws: { error in
            let error = error as? ConnectError
            return error?.code == .invalidArgument && error?.message.contains("https://HOST") == true
                && error?.message.contains("secret1") == false
        }
    }

    private func proxy(_ environment: [String: String]?, _ url: String) throws -> ProxyVariables.Proxy? {
        let address = try ServerAddress(url)
        var configuration = ConnectClientConfiguration(address: address)
        configuration.proxyEnvironment = environment
        return try configuration.proxy(for: address)
    }

    @Test("proxies come from the variables, in either case, and not for loopback or exempt hosts")
    func proxies() throws {
        let variables = [
            "HTTPS_PROXY": "http://me:p%40ss@proxy:3128/", "http_proxy": "proxy2",
            "NO_PROXY": "example.com, .internal ,*.corp,host:8443",
        ]
        let expected = ProxyVariables.Proxy(host: "proxy", port: 3128, user: "me", password: "p@ss")
        #expect(try proxy(variables, "https://api.depot.dev") == expected)
        #expect(try proxy(variables, "http://api.depot.dev") == .init(host: "proxy2", port: 80))
        #expect(try proxy(nil, "https://api.depot.dev") == nil)
        for exempt in [
            "https://localhost", "https://127.0.0.9", "https://[::1]", "https://example.com", "https://a.example.com",
            "https://x.internal", "https://x.corp", "https://host:8443", "unix:/run/x",
        ] {
            #expect(try proxy(variables, exempt) == nil, "\(exempt)")
        }
        for proxied in ["https://notexample.com", "https://host", "https://127.0.0.1.evil.com"] {
            #expect(try proxy(variables, proxied) == expected, "\(proxied)")
        }
        #expect(try proxy(variables.merging(["no_proxy": "*"]) { $1 }, "https://api.depot.dev") == nil)
        #expect(try proxy(["https_proxy": ""], "https://api.depot.dev") == nil)
        for wrong in ["socks5://x", "https://x", "http://", "http://x:0"] {
            #expect(throws: ConnectError.self, "\(wrong)") { try proxy(["https_proxy": wrong], "https://a") }
        }
    }

    @Test("a request goes through the proxy that the variables name")
    func throughProxy() async throws {
        let answer = ScriptedServer.Answer(bytes: try RawAnswer.unary("by proxy"))
        // It opens a tunnel first, and then plays the server.
        let tunnel = ScriptedServer.Answer(bytes: Array("HTTP/1.1 200 OK\r\n\r\n".utf8), ending: .keep)
        try await ScriptedServer.run({ $0 == 0 ? tunnel : answer }) { proxy, url in
            let address = try ServerAddress("http://api.example:7777")
            try await withClient(address, adjust: { $0.proxyEnvironment = ["http_proxy": url] }) { client in
                let answer = try await client.unary(EchoMethods.echo, Text("x"))
                #expect(answer.value == "by proxy")
            }
            #expect(proxy.requests.first?.hasPrefix("CONNECT api.example:7777 HTTP/1.1\r\n") == true)
        }
    }

    @Test("a CA file that is none is refused by name")
    func caFile() throws {
        var configuration = ConnectClientConfiguration(address: try ServerAddress("https://x"))
        configuration.caFile = "/no/such/ca.pem"
        #expect {
            try ConnectClient(configuration)
        } throws: {
            ($0 as? ConnectError)?.message.contains("/no/such/ca.pem") == true
        }
    }

    @Test("secrets are taken out wherever they stand")
    func secrets() {
        let secrets = Secrets([("authorization", "Bearer abcdef123"), ("x-depot-org", "org")])
        #expect(secrets.redacted("abcdef123abcdef123 org abcdef12") == "[redacted][redacted] org abcdef12")
        #expect(secrets.redacted("Bearer abcdef123!") == "[redacted]!")
        #expect(secrets.redacted("") == "")
    }
}
