import Foundation
import Testing

/// The images of the tests, made once a test run.
actor Images {
    static let shared = Images()

    private var small: Task<String, any Error>?
    private var large: Task<LargeImage, any Error>?
    private var bootable: Task<String, any Error>?
    private var kernel: Task<String, any Error>?

    struct LargeImage: Sendable {
        /// The OCI layout.
        let layout: String
        /// The layers, bottom first, extracted in the form that overlayfs wants.
        let layers: [String]
        let entries: Int
        let bytes: Int
    }

    /// What `make run` takes without an IMAGE: a few MB, two layers, one whiteout. The path of a layout.
    func smallLayout() async throws -> String {
        let task =
            small
            ?? Task {
                let path = try makeTemporaryDirectory("small-image") + "/layout"
                try await tool(Programs.repository + "/scripts/sample-image", path)
                return path
            }
        small = task
        return try await task.value
    }

    /// Where the kernel is kept, for the next time and for other tests.
    static let kernels = Programs.repository + "/.build-test-kernel"

    /// Five tags of different kinds (Fixtures/make-boot-images). The path of a layout.
    func bootLayout() async throws -> String {
        let task =
            bootable
            ?? Task {
                let path = try makeTemporaryDirectory("boot-images") + "/layout"
                try await tool("python3", Programs.fixture("make-boot-images"), path)
                return path
            }
        bootable = task
        return try await task.value
    }

    /// What tells snapwf the distribution's kernel, on a machine that has none of its own.
    func machineVariables() async throws -> [String: String] {
        let task =
            kernel
            ?? Task {
                let directory = Self.kernels + "/kernel"
                try await tool(Programs.repository + "/scripts/kernel", directory)
                let names = try FileManager.default.contentsOfDirectory(atPath: directory + "/boot")
                return directory + "/boot/" + (try #require(names.first { $0.hasPrefix("vmlinuz-") }))
            }
        kernel = task
        return ["SNAPWF_KERNEL": try await task.value]
    }

    /// Three layers of distribution packages and hard cases, over 10,000 entries.
    func largeImage() async throws -> LargeImage {
        let task =
            large
            ?? Task {
                let path = try makeTemporaryDirectory("large-image")
                let made = try await tool("python3", Programs.fixture("make-image"), path).json()
                return LargeImage(
                    layout: path + "/oci", layers: (0..<3).map { "\(path)/layers/\($0)" },
                    entries: try #require(made["entries"] as? Int), bytes: try #require(made["bytes"] as? Int))
            }
        large = task
        return try await task.value
    }
}
