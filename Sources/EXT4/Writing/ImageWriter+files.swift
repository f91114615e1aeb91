/// The data phase: bytes go to the next free block, in the order they come.
extension ImageWriter {
    struct OpenFile {
        var data = FileData()
        /// Zeros that were announced and have no place yet.
        var pendingHole: UInt64 = 0
    }

    /// Begins a file. Every file is ended before the next one begins.
    ///
    /// - Parameter expectedSize: a hint in bytes, 0 where it is not known. The file is as long as what is appended.
    package func beginFile(expectedSize: UInt64) {
        begunTwice = begunTwice || isFileOpen
        isFileOpen = true
        file = OpenFile()
    }

    /// Appends bytes to the file. Large pieces (128 KiB and more) go to the image without a copy.
    package func append(_ bytes: UnsafeRawBufferPointer) throws(EXT4Error) {
        try requireOpenFile()
        guard !bytes.isEmpty else { return }
        try checkGrowth(by: UInt64(bytes.count))
        if file.pendingHole > 0 {
            try placeHole()
        }
        var rest = bytes[...]
        let inBlock = file.data.size % Geometry.blockSize
        if inBlock > 0 {
            let count = min(rest.count, Int(Geometry.blockSize - inBlock))
            try output.write(UnsafeRawBufferPointer(rebasing: rest.prefix(count)), at: endOfData)
            file.data.size += UInt64(count)
            rest = rest.dropFirst(count)
        }
        while !rest.isEmpty {
            let blocks = UInt64(rest.count).dividedRoundingUp(by: Geometry.blockSize)
            let run = try space.take(upTo: blocks)
            let count = min(rest.count, run.count * Int(Geometry.blockSize))
            let logical = file.data.size / Geometry.blockSize
            file.data.append(Extent(logical: logical, physical: run.lowerBound, count: UInt64(run.count)))
            try output.write(
                UnsafeRawBufferPointer(rebasing: rest.prefix(count)), at: run.lowerBound * Geometry.blockSize)
            file.data.size += UInt64(count)
            rest = rest.dropFirst(count)
        }
    }

    /// Appends zeros. Blocks that consist of nothing else take no space.
    package func appendHole(_ count: UInt64) throws(EXT4Error) {
        try requireOpenFile()
        try checkGrowth(by: count)
        file.pendingHole += count
    }

    /// Ends the file and says where it landed.
    package func endFile() throws(EXT4Error) -> FileData {
        try requireOpenFile()
        try fillBlock()
        file.data.size += file.pendingHole
        isFileOpen = false
        defer { file = OpenFile() }
        return file.data
    }

    /// Gives back a file that no inode will have: its blocks are free again and read as zeros.
    package func discard(_ data: FileData) throws(EXT4Error) {
        try requireUnfinished()
        for extent in data.rest.reversed() {
            try giveBack(extent)
        }
        if let first = data.first {
            try giveBack(first)
        }
    }

    private func giveBack(_ extent: Extent) throws(EXT4Error) {
        let range = extent.physical..<(extent.physical + extent.count)
        try output.clear((range.lowerBound * Geometry.blockSize)..<(range.upperBound * Geometry.blockSize))
        space.giveBack(range)
    }

    private func requireOpenFile() throws(EXT4Error) {
        try requireUnfinished()
        guard isFileOpen, !begunTwice else {
            throw EXT4Error(.misuse, begunTwice ? "A file was begun inside of another" : "No file was begun")
        }
    }

    private func checkGrowth(by count: UInt64) throws(EXT4Error) {
        let (sum, overflow) = (file.data.size + file.pendingHole).addingReportingOverflow(count)
        let largest = ExtentTree.maxFileBlocks * Geometry.blockSize
        guard !overflow, sum <= largest else {
            throw EXT4Error(.tooLarge, "A file would be larger than \(largest) bytes, the most that ext4 can hold")
        }
    }

    /// Where the file's last block has its first unused byte.
    private var endOfData: UInt64 {
        guard let last = file.data.rest.last ?? file.data.first else { return 0 }
        let block = last.physical + last.count - 1
        return block * Geometry.blockSize + file.data.size % Geometry.blockSize
    }

    /// Fills the last block with zeros, without counting them; nothing to do where it is full or a hole.
    private func fillBlock() throws(EXT4Error) {
        let inBlock = file.data.size % Geometry.blockSize
        guard inBlock > 0 else { return }
        try output.writeZeros(Int(Geometry.blockSize - inBlock), at: endOfData)
    }

    /// Zeros up to the end of a begun block, then blocks left out, then the zeros a new block begins with.
    private func placeHole() throws(EXT4Error) {
        let hole = file.pendingHole
        file.pendingHole = 0
        let inBlock = file.data.size % Geometry.blockSize
        let head = inBlock == 0 ? 0 : min(hole, Geometry.blockSize - inBlock)
        if head > 0 {
            try output.writeZeros(Int(head), at: endOfData)
            file.data.size += head
        }
        let rest = hole - head
        let tail = rest % Geometry.blockSize
        file.data.size += rest - tail
        if tail > 0 {
            let block = try space.take()
            let logical = file.data.size / Geometry.blockSize
            file.data.append(Extent(logical: logical, physical: block, count: 1))
            try output.writeZeros(Int(tail), at: block * Geometry.blockSize)
            file.data.size += tail
        }
    }
}
