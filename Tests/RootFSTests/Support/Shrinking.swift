@testable import RootFS

extension LayerStack {
    /// Stacks that are a step simpler, the largest steps first.
    var simpler: [LayerStack] {
        var found: [LayerStack] = []
        func add(_ change: (inout LayerStack) -> Void) {
            var copy = self
            change(&copy)
            if copy != self { found.append(copy) }
        }
        for number in layers.indices.reversed() { add { $0.layers.remove(at: number) } }
        for number in layers.indices where layers[number].members.count > 3 {
            let half = layers[number].members.count / 2
            add { $0.layers[number].members.removeFirst(half) }
            add { $0.layers[number].members.removeLast(half) }
        }
        for (number, layer) in layers.enumerated() {
            for index in layer.members.indices { add { $0.layers[number].members.remove(at: index) } }
        }
        add { stack in
            for number in stack.layers.indices { stack.layers[number].storage = .plain }
        }
        for (number, layer) in layers.enumerated() {
            for (index, member) in layer.members.enumerated() {
                for simple in member.simpler { add { $0.layers[number].members[index] = simple } }
            }
        }
        return found
    }

    /// The smallest stack for which a condition still holds, found in at most so many tries.
    func shrunk(tries: Int = 500, while holds: (LayerStack) async throws -> Bool) async rethrows -> LayerStack {
        var best = self
        var left = tries
        var isSmaller = true
        while isSmaller {
            isSmaller = false
            for candidate in best.simpler {
                guard left > 0 else { return best }
                left -= 1
                guard try await holds(candidate) else { continue }
                best = candidate
                isSmaller = true
                break
            }
        }
        return best
    }
}

extension Member {
    /// Without all attributes, without each of them, and with less content.
    fileprivate var simpler: [Member] {
        let plain = Member(path: path, kind)
        var changes: [(inout Member) -> Void] = [
            { $0 = plain },
            { $0.xattrs = [:] },
            { ($0.access, $0.inherited) = (nil, nil) },
            { $0.access = nil },
            { $0.inherited = nil },
            { $0.isAccessListText = true },
            { $0.mode = plain.mode },
            { ($0.uid, $0.gid) = (0, 0) },
            { ($0.seconds, $0.nanoseconds) = (plain.seconds, 0) },
            { $0.sparse = nil },
            { $0.spelling = .plain },
            { if $0.sparse == nil { $0.format = .pax } },
        ]
        for name in xattrs.keys.sorted() { changes.append { $0.xattrs[name] = nil } }
        if case .file(let content) = kind, content.count > 1 {
            changes.append { $0.kind = .file(Array(content.prefix(1))) }
            changes.append { $0.kind = .file(Array(content.prefix(content.count / 2))) }
        }
        return changes.map { with($0) }.filter { $0 != self }
    }
}
