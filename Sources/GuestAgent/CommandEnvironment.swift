/// The environment of a command.
enum CommandEnvironment {
    /// What an image that says nothing gets, as container engines have it.
    static let defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    /// Each name once, the later one counts; then what is missing of PATH, HOME and, with a terminal, TERM. An entry
    /// without a name, or without `=`, says nothing.
    static func merged(_ layers: [[String]], home: String, hasTerminal: Bool) -> [String] {
        var order: [Substring] = []
        var values: [Substring: String] = [:]
        func add(_ entry: String, over: Bool) {
            guard let end = entry.firstIndex(of: "="), end != entry.startIndex else { return }
            let name = entry[..<end]
            if values[name] == nil { order.append(name) } else if !over { return }
            values[name] = entry
        }
        for entry in layers.joined() { add(entry, over: true) }
        add(defaultPath, over: false)
        add("HOME=\(home)", over: false)
        if hasTerminal { add("TERM=xterm", over: false) }
        return order.compactMap { values[$0] }
    }
}
