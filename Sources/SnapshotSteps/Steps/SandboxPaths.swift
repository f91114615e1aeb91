/// Where things are inside the sandbox.
enum SandboxPaths {
    static let helper = "/work/bin/snapshot"
    static let image = "/work/out/rootfs.ext4"
    static let result = image + ".json"
}
