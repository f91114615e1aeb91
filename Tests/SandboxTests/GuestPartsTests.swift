import Glibc
import GuestProtocol
import TestSupport
import Testing

@testable import Sandbox

@Suite("the parts of a guest")
struct GuestPartsTests {
    @Test("an initramfs is a cpio archive that the tool for it unpacks, the same for the same entries")
    func archive() async throws {
        func make() throws -> [UInt8] {
            var archive = CPIOArchive()
            try archive.addDirectory("dev")
            try archive.addFile("init", mode: 0o755, Array("#!/bin/sh\n".utf8))
            for length in 0..<9 {
                try archive.addFile(
                    "modules/a/\(String(repeating: "n", count: length + 1))", mode: 0o644,
                    [UInt8](repeating: 7, count: length))
            }
            return try archive.finished()
        }
        let bytes = try make()
        #expect(try make() == bytes)
        let directory = try TemporaryDirectory()
        try directory.write(bytes, to: "archive")
        let script =
            "cd \"$1\" && mkdir out && cd out && cpio -idm --quiet < ../archive && find . -printf '%p %m %y %s\\n'"
        let said = try await Command.run("sh", ["-c", script, "sh", directory.path])
        let lines = String(decoding: said, as: UTF8.self).split(separator: "\n").map(String.init)
        #expect(lines.filter { $0.hasSuffix("755 f 10") } == ["./init 755 f 10"])
        for length in 0..<9 {
            #expect(lines.contains("./modules/a/\(String(repeating: "n", count: length + 1)) 644 f \(length)"))
        }
        #expect(lines.contains { $0.hasPrefix("./dev 755 d") } && lines.contains { $0.hasPrefix("./modules/a 755 d") })
    }

    @Test("an overlay is a qcow2 that QEMU's own tool accepts, over its base, at any size")
    func overlay() async throws {
        let directory = try TemporaryDirectory()
        let base = directory.path + "/base, with a comma.raw"
        try directory.write([UInt8](repeating: 5, count: 1 << 20), to: "base, with a comma.raw")
        for (index, size) in [1 << 20, (1 << 20) + 1, 10 << 30, (16 << 40) + 512].enumerated() {
            let path = "\(directory.path)/disk\(index)"
            try OverlayDisk(over: base, size: UInt64(size)).make(at: path)
            try await Command.run("qemu-img", ["check", "-f", "qcow2", path])
            let info = String(
                decoding: try await Command.run("qemu-img", ["info", "--output=json", path]), as: UTF8.self)
            #expect(info.contains("\"virtual-size\": \((size + 511) / 512 * 512)"), "\(info)")
            #expect(info.contains("\"backing-filename-format\": \"raw\"") && info.contains("comma.raw\""), "\(info)")
            #expect(linkStatus(path).map { $0.st_blocks * 512 < 1 << 20 } == true)
        }
        let raw = directory.path + "/raw"
        try await Command.run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", directory.path + "/disk1", raw])
        #expect(
            try SmallFile.read(raw, limit: 2 << 20) == [UInt8](repeating: 5, count: 1 << 20)
                + [UInt8](repeating: 0, count: 512))
        await expectError(.invalidArgument) { _ = try OverlayDisk(over: "relative", size: 512) }
        await expectError(.invalidArgument) { _ = try OverlayDisk(over: base, size: 0) }
        await expectError(.invalidArgument) {
            _ = try OverlayDisk(over: "/" + String(repeating: "x", count: 1023), size: 512)
        }
    }

    @Test("modules come after what they need, once, and built-in ones not at all")
    func modules() throws {
        let table = """
            kernel/a/virtio_blk.ko: kernel/a/virtio_ring.ko kernel/a/virtio.ko
            kernel/a/virtio_ring.ko: kernel/a/virtio.ko
            kernel/a/virtio.ko:
            kernel/a/virtio-rng.ko.xz: kernel/a/rng-core.ko kernel/a/virtio.ko
            kernel/a/loop-a.ko: kernel/a/loop-b.ko
            kernel/a/loop-b.ko: kernel/a/loop-a.ko
            no colon
            """
        let modules = KernelModules(table: Array(table.utf8), builtin: ["rng_core"])
        #expect(
            modules.inOrder(["virtio_blk", "virtio_rng", "virtio_blk", "rng_core", "no_such"])
                == [
                    "kernel/a/virtio.ko", "kernel/a/virtio_ring.ko", "kernel/a/virtio_blk.ko",
                    "kernel/a/virtio-rng.ko.xz",
                ])
        #expect(modules.inOrder(["loop_a"]) == ["kernel/a/loop-b.ko", "kernel/a/loop-a.ko"])
        #expect(KernelModules.needs(inModule: Array("\0x=1\0depends=a-b,c\0name=z\0".utf8)) == ["a_b", "c"])
        #expect(KernelModules.needs(inModule: Array("\0depends=\0".utf8)) == [])
        #expect(KernelModules.needs(inModule: []) == [])
    }

    @Test("a kernel tells its release, and the newest one is taken")
    func kernels() async throws {
        let directory = try TemporaryDirectory()
        func kernel(_ release: String) -> [UInt8] {
            var bytes = [UInt8](repeating: 0, count: 0x1000)
            bytes.replaceSubrange(0x202..<0x206, with: Array("HdrS".utf8))
            bytes[0x207] = 2
            bytes[0x20F] = 3
            let text = Array((release + " (builder) #1\0").utf8)
            bytes.replaceSubrange(0x500..<(0x500 + text.count), with: text)
            return bytes
        }
        try await Command.run("mkdir", ["-p", directory.path + "/boot"])
        for release in ["6.1.0-9-test", "6.1.0-56-test", "5.10.0-99-test"] {
            try directory.write(kernel(release), to: "boot/vmlinuz-" + release)
            if release != "6.1.0-56-test" {
                try await Command.run("mkdir", ["-p", "\(directory.path)/lib/modules/\(release)"])
            }
        }
        let found = try GuestKernel.find(nil, boot: directory.path + "/boot")
        #expect(found.release == "6.1.0-9-test")
        #expect(found.modules?.hasSuffix("/lib/modules/6.1.0-9-test") == true)
        #expect(try GuestKernel(at: directory.path + "/boot/vmlinuz-6.1.0-56-test").modules == nil)
        for wrong in ["../../x", "", "."] {
            #expect(GuestKernel.release(inHeader: kernel(wrong)[...]) == nil)
        }
        try directory.write([1, 2, 3], to: "short")
        await expectError(.incompatible) { _ = try GuestKernel(at: directory.path + "/short") }
        await expectError(.missingTool) { _ = try GuestKernel.find(nil, boot: directory.path + "/none") }
    }

    @Test("a console is kept within its bound, its last words whole")
    func console() throws {
        let directory = try TemporaryDirectory()
        let place = SandboxDirectory(path: directory.path)
        var log = try ConsoleLog(place)
        for number in 0..<20_000 { log.append(Array("line \(number) of a guest that will not be quiet\r\n".utf8)[...]) }
        log.append(Array("Kernel panic - not syncing: it is over\r\n".utf8)[...])
        for path in [place.consolePath, place.olderConsolePath] {
            let size = try #require(linkStatus(path)).st_size
            #expect(size > 0 && size <= ConsoleLog.fileLimit)
        }
        #expect(
            GuestEpitaph.reason(console: log.tail, status: 0, complaint: "")
                == "its kernel panicked: Kernel panic - not syncing: it is over")
        #expect(GuestEpitaph.reason(console: [], status: 137, complaint: "") == "QEMU ended with 137 (signal 9)")
    }

    @Test("a record of a guest is read as it was written")
    func record() throws {
        let record = GuestRecord(
            qemu: "/q", machine: .q35, accelerator: .tcg, kernel: "/a b\n", initramfs: "/i", vcpus: 3,
            memoryBytes: 1 << 30,
            network: .none, useLock: "/l", hostname: "h", environment: ["A=1\n2", "B=ä"], user: "u:g",
            workingDirectory: "/w", patience: .seconds(7))
        #expect(GuestRecord(record.record.bytes) == record)
        #expect(GuestRecord(Array(record.record.bytes.dropLast())) == nil)
    }
}

@Suite("several clients of one guest")
struct GuestRouterTests {
    private func run(_ id: UInt32) -> Frame { HostMessage.run(CommandRequest(["x"])).frame(nonce: 9, id: id) }

    private func number(_ deliveries: [GuestRouter.Delivery]) throws -> UInt32 {
        guard case .guest(let frame) = deliveries.first, deliveries.count == 1 else {
            throw SandboxError(.system, "not one message to the guest: \(deliveries)")
        }
        #expect(frame.nonce == 77)
        return frame.id
    }

    @Test("have numbers of their own, and hear what is theirs")
    func numbers() throws {
        var router = GuestRouter(nonce: 77)
        let first = try number(router.fromClient(1, run(1)))
        let second = try number(router.fromClient(2, run(1)))
        #expect(first != second && first >= GuestRouter.firstNumber)
        let output = GuestMessage.output(.output, [1, 2])
        #expect(
            router.fromGuest(output.frame(nonce: 77, id: second), output)
                == [.client(2, output.frame(nonce: 0, id: 1))])
        let end = GuestMessage.exited(.code(3))
        #expect(router.fromGuest(end.frame(nonce: 77, id: first), end) == [.client(1, end.frame(nonce: 0, id: 1))])
        // Free again, and what comes late for it goes nowhere.
        #expect(router.fromGuest(end.frame(nonce: 77, id: first), end) == [])
        #expect(router.fromClient(1, HostMessage.inputEnd.frame(nonce: 0, id: 1)) == [])
        #expect(try number(router.fromClient(1, run(1))) != second)
    }

    @Test("have their commands cancelled when they go, and hold no end back")
    func gone() throws {
        var router = GuestRouter(nonce: 77)
        let mine = try number(router.fromClient(1, run(5)))
        _ = try number(router.fromClient(2, run(5)))
        #expect(router.left(1) == [.guest(HostMessage.cancel.frame(nonce: 77, id: mine))])
        let output = GuestMessage.output(.errors, [1, 2, 3])
        #expect(
            router.fromGuest(output.frame(nonce: 77, id: mine), output)
                == [.guest(HostMessage.credit(.errors, 3).frame(nonce: 77, id: mine))])
        let end = GuestMessage.exited(.signal(9))
        #expect(router.fromGuest(end.frame(nonce: 77, id: mine), end) == [])
        #expect(router.count == 1)
        #expect(router.left(1) == [])
    }

    @Test("cannot begin a session, take a number twice, or begin without bound")
    func refusals() throws {
        var router = GuestRouter(nonce: 77)
        func isRefused(_ deliveries: [GuestRouter.Delivery]) -> Bool {
            guard case .client(1, let frame) = deliveries.first else { return false }
            if case .failed? = try? GuestMessage(frame) { return true }
            return false
        }
        #expect(isRefused(router.fromClient(1, HostMessage.hello(version: 1).frame(nonce: 77, id: 1))))
        #expect(isRefused(router.fromClient(1, Frame(kind: 0x7777, nonce: 0, id: 1, payload: []))))
        for id in 1...UInt32(GuestRouter.mostCommands) { _ = try number(router.fromClient(1, run(id))) }
        #expect(isRefused(router.fromClient(1, run(1))))
        #expect(isRefused(router.fromClient(1, run(100_000))))
        #expect(router.left(1).count == GuestRouter.mostCommands)
    }
}

@Suite("a session with a guest")
struct GuestSessionTests {
    private func session() -> GuestSession {
        GuestSession(nonce: 5, configuration: GuestConfiguration(), patience: .seconds(10))
    }

    private var hello: GuestMessage {
        .hello(GuestHello(bootMilliseconds: 1, kernelRelease: "6", isConfigured: false, warnings: ["w"]))
    }

    @Test("says hello until it is answered, configures, and runs")
    func begins() {
        var session = session()
        #expect(session.due(at: .zero).count == 1)
        #expect(session.due(at: .milliseconds(10)).isEmpty)
        #expect(session.due(at: .seconds(1)).count == 1)
        // Of another session.
        #expect(session.fromGuest(hello.frame(nonce: 6, id: 0), at: .seconds(1)) == nil)
        _ = session.fromGuest(hello.frame(nonce: 5, id: 0), at: .seconds(1))
        let configure = session.due(at: .seconds(1))
        #expect(configure.count == 1 && session.due(at: .seconds(2)).isEmpty && !session.isRunning)
        _ = session.fromGuest(GuestMessage.done.frame(nonce: 5, id: configure[0].id), at: .seconds(2))
        #expect(session.isRunning && session.failure == nil && session.hang(at: .seconds(40)) == nil)
    }

    @Test("tells a guest that cannot begin, one of another version, and one that hangs")
    func failures() {
        var silent = session()
        _ = silent.due(at: .zero)
        #expect(silent.hang(at: .seconds(30)) == nil && silent.hang(at: .seconds(31)) != nil)

        var failing = session()
        _ = failing.due(at: .zero)
        _ = failing.fromGuest(hello.frame(nonce: 5, id: 0), at: .zero)
        let configure = failing.due(at: .zero)[0]
        let failure = GuestMessage.failed(GuestFailure(.root, "no disk"))
        _ = failing.fromGuest(failure.frame(nonce: 5, id: configure.id), at: .zero)
        #expect(failing.failure == "the guest could not be set up: no disk (w)")

        var foreign = session()
        let other = GuestMessage.hello(
            GuestHello(version: 99, bootMilliseconds: 0, kernelRelease: "", isConfigured: false, warnings: []))
        _ = foreign.fromGuest(other.frame(nonce: 5, id: 0), at: .zero)
        #expect(foreign.failure?.contains("version 99") == true)

        var hanging = session()
        _ = hanging.due(at: .zero)
        _ = hanging.fromGuest(hello.frame(nonce: 5, id: 0), at: .zero)
        let id = hanging.due(at: .zero)[0].id
        _ = hanging.fromGuest(GuestMessage.done.frame(nonce: 5, id: id), at: .zero)
        #expect(hanging.due(at: .seconds(4)).isEmpty)
        #expect(hanging.due(at: .seconds(5)).count == 1 && hanging.due(at: .seconds(6)).isEmpty)
        #expect(hanging.hang(at: .seconds(15)) == nil && hanging.hang(at: .seconds(16)) != nil)
    }
}
