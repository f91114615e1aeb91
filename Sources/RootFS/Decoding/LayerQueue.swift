/// The layers of an image, opened in the order in which they are merged, and some of them ahead of their turn.
///
/// While one layer is merged, those below it are read, hashed and decoded on threads of their own, until the share of
/// memory is full that each has. What comes of a layer is told when its turn comes, failures too: so which failure ends
/// a conversion depends on the layers and not on who was faster.
final class LayerQueue {
    private let layers: [Layer]
    private let budget: Budget
    private let execution: Execution
    /// Layers that are open at once.
    private let openLayers: Int
    /// Layers that were begun and not taken yet, by number.
    private var ahead: [Int: PiecesAhead] = [:]
    /// All layers from this number on were begun.
    private var begun: Int

    /// - Parameter layers: the bottom one first, as they are numbered.
    init(_ layers: [Layer], budget: Budget, execution: Execution) {
        self.layers = layers
        self.budget = budget
        self.execution = execution
        openLayers = min(execution.openLayers, max(1, layers.count))
        begun = layers.count
    }

    deinit {
        cancel()
    }

    /// Gives out the layer of a number. They are asked for from the last to the first, each when the one above it was
    /// read and let go.
    func stream(of number: Int) throws(RootFSError) -> LayerStream {
        if openLayers > 1 { beginLayers(downTo: number - openLayers + 1) }
        let pieces = ahead.removeValue(forKey: number)
        return try LayerStream(layers[number], budget: budget, execution: execution, ahead: pieces)
    }

    /// The upper ones first. One for which the system has no thread left is opened in its turn.
    private func beginLayers(downTo lowest: Int) {
        while begun > max(0, lowest) {
            begun -= 1
            ahead[begun] = PiecesAhead(
                layers[begun], execution: execution,
                waitingBytes: Execution.share(of: openLayers, layers[begun].compression))
        }
    }

    /// Ends all that is under way; no thread of it is left.
    func cancel() {
        // All of them before the first is waited for.
        for pieces in ahead.values { pieces.cancel() }
        ahead = [:]
    }
}
