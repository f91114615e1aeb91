/// The one of `names` that somebody who wrote `word` most likely meant; nil where none is near.
///
/// Near is: at most a third of the letters differ (one, for short words), where a swap of two neighbours counts as one
/// difference, or `word` is how the name begins.
func nearest(_ word: String, among names: some Sequence<String>) -> String? {
    let word = Array(word.lowercased().prefix(64))
    guard !word.isEmpty else { return nil }
    let limit = max(1, word.count / 3)
    let ranked = names.compactMap { name -> (name: String, distance: Int)? in
        let letters = Array(name.lowercased().prefix(64))
        let distance = letters.starts(with: word) ? 1 : editDistance(word, letters)
        return distance <= limit ? (name, distance) : nil
    }
    return ranked.min { ($0.distance, $0.name.count, $0.name) < ($1.distance, $1.name.count, $1.name) }?.name
}

/// How many insertions, deletions, changes and swaps of neighbours lead from one to the other (optimal string alignment).
private func editDistance(_ first: [Character], _ second: [Character]) -> Int {
    var beforeLast: [Int] = []
    var last = Array(0...second.count)
    for (row, letter) in first.enumerated() {
        var current = [row + 1]
        for (column, other) in second.enumerated() {
            var cost = min(last[column] + (letter == other ? 0 : 1), last[column + 1] + 1, current[column] + 1)
            if row > 0, column > 0, letter == second[column - 1], first[row - 1] == other {
                cost = min(cost, beforeLast[column - 1] + 1)
            }
            current.append(cost)
        }
        (beforeLast, last) = (last, current)
    }
    return last[second.count]
}
