import ArgumentParser
import EXT4
import Files
import HelperInterface

struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Reads every structure of an image and checks every checksum.",
        discussion: """
            Also the hash tree of an image with verity, and, as long as the image was never mounted read-write, its \
            SHA-256 where a result document beside it (FILE.json) names one. Ends with 5 when the image is bad.
            """)

    @Argument(help: "The ext4 image.")
    var file: String

    @Flag(help: "One JSON document.")
    var json = false

    func run() throws {
        try looking(at: file) {
            let document = try verify()
            let output = StandardOutput()
            if json {
                try output.line(jsonText(document, isPretty: true))
            } else {
                for line in document.lines { try output.line(line) }
            }
            try output.flush()
            if !document.sound { throw Reported(status: .badImage) }
        }
    }

    private func verify() throws -> VerifyDocument {
        var document = VerifyDocument(file: file)
        do {
            let image = try ImageFile(file)
            let facts = image.reader.information
            document.add(try image.reader.verify(freeBlocksReadZero: !facts.wasMounted), facts)
            let sidecar = Sidecar(beside: image.path, uuid: uuidText(facts.uuid))
            try document.addVerity(of: image, sidecar)
            try document.addChecksum(of: image, sidecar)
        } catch let error as EXT4Error where error.code == .corrupt {
            document.note(error.message)
        }
        return document
    }
}

/// What a look at all of an image found.
struct VerifyDocument: Encodable {
    var schema = 1
    let file: String
    private(set) var sound = true
    /// The first of them, in words.
    private(set) var problems: [String] = []
    private(set) var problemCount = 0
    private(set) var blockCount: UInt64?
    private(set) var usedBlocks: UInt64?
    private(set) var inodes: Int?
    private(set) var directories: Int?
    /// False for images that were mounted read-write: Linux leaves in free blocks what was in them.
    private(set) var freeBlocksReadZero: Bool?
    private(set) var verity: VerityResult?
    /// Of the whole file, where it was compared with the result document's.
    private(set) var sha256: String?

    init(file: String) { self.file = file }

    mutating func note(_ problem: String) {
        sound = false
        problemCount += 1
        problems.append(printableName(problem.utf8))
    }

    mutating func add(_ report: Verification, _ facts: ImageReader.Information) {
        sound = report.isSound
        problems = report.problems.map { printableName($0.utf8) }
        problemCount = report.problemCount
        blockCount = facts.blockCount
        usedBlocks = report.usedBlocks
        inodes = report.inodes
        directories = report.directories
        if !facts.wasMounted { freeBlocksReadZero = report.isSound }
    }

    mutating func addVerity(of image: borrowing ImageFile, _ sidecar: Sidecar?) throws {
        guard let tree = try ImageVerity(of: image) else {
            if sidecar?.result.verity != nil {
                note("the hash tree that the result document speaks of is missing or damaged")
            }
            return
        }
        verity = tree.result
        let finding = try VerityTree(tree.superblock).verify(image.file)
        if let bad = finding.firstBadBlock { note("block \(bad) differs from its hash in the verity tree") }
        if let root = sidecar?.result.verity?.rootHash, root != finding.root {
            note("the verity tree has the root hash \(finding.root), the result document names \(root)")
        }
    }

    mutating func addChecksum(of image: borrowing ImageFile, _ sidecar: Sidecar?) throws {
        guard !image.reader.information.wasMounted, let sidecar else { return }
        let found = try HelperInterface.sha256(of: image.file)
        sha256 = found.hex
        if found.hex != sidecar.result.sha256 {
            note("the file's SHA-256 is \(found.hex), the result document names \(sidecar.result.sha256)")
        }
    }

    /// For a person.
    var lines: [String] {
        let name = printableName(file.utf8)
        guard sound else {
            let more = problemCount - problems.count
            return problems.map { "\(name): \($0)" } + (more > 0 ? ["\(name): and \(more) more"] : [])
        }
        var lines = ["\(name): sound"]
        if let inodes, let directories, let usedBlocks, let blockCount {
            lines.append(
                "  \(inodes) inodes, \(directories) of them directories; \(usedBlocks) of \(blockCount) blocks in use")
        }
        if let freeBlocksReadZero, freeBlocksReadZero {
            lines.append("  free blocks read as zeros")
        } else {
            lines.append("  free blocks were not looked at: the image was mounted read-write")
        }
        if let verity { lines.append("  verity: every block has its hash; root \(verity.rootHash)") }
        if sha256 != nil { lines.append("  sha256: the one of the result document") }
        return lines
    }
}
