import CGuest
import Glibc
import GuestProtocol

/// `eth0`, set up by hand: QEMU's user network gives each guest the same addresses.
enum GuestNetwork {
    private static let interface = "eth0"

    static func bringUp(_ network: GuestConfiguration.Network?) throws(SystemError) {
        guard let network else { return }
        try awaitInterface()
        try SystemError.check(
            cguest_interface_address(interface, network.address, UInt32(network.prefixLength)),
            "give \(interface) the address \(dotted(network.address))/\(network.prefixLength)")
        try SystemError.check(cguest_interface_up(interface), "bring up \(interface)")
        try SystemError.check(
            cguest_default_route(network.gateway), "route by way of \(dotted(network.gateway))")
    }

    private static func awaitInterface() throws(SystemError) {
        let end = cguest_uptime() + 5000
        while access("/sys/class/net/\(interface)", F_OK) != 0 {
            guard cguest_uptime() < end else {
                throw SystemError(
                    ENODEV, "find \(interface) (does the machine have a virtio network, and the initramfs its modules?)"
                )
            }
            usleep(2000)
        }
    }

    static func dotted(_ address: UInt32) -> String {
        [24, 16, 8, 0].map { String((address >> $0) & 0xFF) }.joined(separator: ".")
    }
}

/// `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`: files of the initramfs, bound over the image's, which keep their
/// bytes.
struct EtcFiles {
    /// Path in the root, contents.
    let contents: [(path: String, text: String)]

    init(_ configuration: GuestConfiguration) {
        let name = configuration.hostname
        var contents = [
            (path: "/etc/hostname", text: "\(name)\n"),
            (
                path: "/etc/hosts",
                text: "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t\(name)\n"
            ),
        ]
        if let network = configuration.network {
            contents.append(
                (path: "/etc/resolv.conf", text: "nameserver \(GuestNetwork.dotted(network.nameServer))\n"))
        }
        self.contents = contents
    }

    /// - Returns: what was left out, a line each: a read-only root without such a file, or something else in its place.
    func bind(in root: Descriptor, isReadOnly: Bool) throws(SystemError) -> [String] {
        var notes: [String] = []
        for (path, text) in contents {
            guard let name = path.split(separator: "/").last else { continue }
            let source = "/names/\(name)"
            try SmallFiles.write(source, text)
            let target = Self.target(path, in: root, isReadOnly: isReadOnly)
            guard target >= 0 else {
                notes.append("\(SystemError(-target, "have a \(path) of its own"))")
                continue
            }
            let point = Descriptor(target)
            let bound = cguest_mount(source, "/proc/self/fd/\(point.raw)", "", UInt(MS_BIND), "")
            if bound < 0 { notes.append("\(SystemError(-bound, "bind \(path)"))") }
        }
        return notes
    }

    /// The file to mount on, made where it may be; a link that leads nowhere gives way.
    private static func target(_ path: String, in root: Descriptor, isReadOnly: Bool) -> Int32 {
        let there = cguest_refer_in_root(root.raw, path)
        if there >= 0 || isReadOnly { return there }
        let directory = cguest_make_directory(root.raw, "/etc", 0o755)
        guard directory >= 0 else { return directory }
        let parent = Descriptor(directory)
        let made = cguest_open_in_root(root.raw, path, O_RDONLY | O_CREAT | O_NONBLOCK, 0o644)
        if made >= 0 { return made }
        if let name = path.split(separator: "/").last { unlinkat(parent.raw, String(name), 0) }
        return cguest_open_in_root(root.raw, path, O_RDONLY | O_CREAT | O_EXCL, 0o644)
    }
}
