import WorkflowTesting

extension SeededGenerator {
    /// True in so many of a thousand cases.
    mutating func chance(_ permille: Int) -> Bool { Int.random(in: 0..<1000, using: &self) < permille }

    mutating func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }

    mutating func pick<Items: Collection>(_ items: Items) -> Items.Element? { items.randomElement(using: &self) }
}
