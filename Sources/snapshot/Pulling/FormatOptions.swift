import ArgumentParser
import HelperInterface

/// What decides how the file system is made.
struct FormatOptions: ParsableArguments {
    @Option(help: "The size of the file system, such as 10GiB. Default: as small as the content allows.")
    var size: ByteCount?

    @Flag(
        help: """
            Append a dm-verity hash tree. The result document, and snapshot inspect, name what veritysetup open wants to \
            know.
            """)
    var verity = false

    func validate() throws {
        if let size, size.bytes > PullArguments.largestSize {
            throw ValidationError(
                "--size is \(byteCountText(size.bytes)); the largest file system is one of "
                    + "\(PullArguments.largestSize >> 30)GiB")
        }
        _ = try sourceDateEpoch()
    }

    /// The date that the environment asks for; nil where it asks for none.
    func sourceDateEpoch() throws -> Int64? {
        do {
            return try SourceDateEpoch.fromEnvironment()
        } catch {
            throw ValidationError(error.message)
        }
    }
}
