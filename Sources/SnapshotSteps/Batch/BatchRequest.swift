/// Many snapshots that were asked for at once: the input of a batch's run. It is stored, so it holds no secret.
package struct BatchRequest: Codable, Sendable, Hashable {
    package struct Item: Codable, Sendable, Hashable {
        package var request: SnapshotRequest
        /// Of the item's run.
        package var labels: [String: String]
        /// For how long the item's run may take from its beginning on, its time in the queue included, in seconds.
        package var timeout: Int?

        package init(request: SnapshotRequest, labels: [String: String], timeout: Int? = nil) {
            self.request = request
            self.labels = labels
            self.timeout = timeout
        }
    }

    /// Where the images wait for a worker.
    package var queue: String
    package var priority: Int
    package var items: [Item]

    /// So many images one batch may have: what becomes of all of them is recorded as one document.
    package static let largest = 1000

    package init(queue: String, priority: Int, items: [Item]) {
        self.queue = queue
        self.priority = priority
        self.items = items
    }
}

/// What became of the images of a batch, in their order: the output of its run.
package struct BatchResult: Codable, Sendable, Hashable {
    package struct Row: Codable, Sendable, Hashable {
        package var image: String
        /// The image's own run.
        package var run: String
        /// `succeeded`, `failed` or `cancelled`.
        package var status: String
        package var snapshot: String?
        package var pushedTo: String?
        package var cached: Bool?
        /// Why there is no snapshot; its beginning, where it is long.
        package var error: String?
        /// What a command about this image alone would end with.
        package var exitCode: Int32
    }

    package var rows: [Row]
}
