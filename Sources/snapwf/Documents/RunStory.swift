import FoundationEssentials
import HelperInterface
import SnapshotSteps
import Workflow

/// A run as `snapwf show` draws it for a person.
struct RunStory {
    let run: RunRecord
    let resources: [ResourceRecord]
    let timeline: Timeline
    /// Why no worker goes on with it.
    var reasonToPark: String?
    /// The runs of a batch, in their order.
    var images: [RunRecord] = []

    func text(now: Date, width: Int?, isUTF8: Bool) -> String {
        var text = table(facts(now), width: width)
        if !timeline.spans.isEmpty {
            text += "\n" + timeline.text(from: run.createdAt, now: now, width: width, isUTF8: isUTF8)
        }
        let alive = resources.filter(\.state.isOpen)
        if !alive.isEmpty {
            text += "\n" + table([["STILL THERE", "STATE", "ID"]] + alive.map(row), width: width)
        }
        if !images.isEmpty {
            let rows = images.map { image in
                let next = image.queueing?.isParked == true && !image.status.isFinished
                let why = image.failure?.message ?? (next ? "snapwf resume \(image.id)" : "")
                return [image.labels[RunDriver.imageLabel] ?? "?", image.standing, image.id.description, why]
            }
            text += "\n" + table([["IMAGE", "STATUS", "RUN", "WHY, OR WHAT NEXT"]] + rows, width: width)
        }
        if let reasonToPark { text += "\n" + reasonToPark + "\n" }
        if let failure = run.failure { text += "\n" + failure.message + "\n" }
        return text
    }

    private func facts(_ now: Date) -> [[String]] {
        let document = RunDocument(run)
        let began = "\(localTime(run.createdAt)) (\(ageText(run.createdAt.distance(to: now))))"
        var rows = [
            ["run", document.id], ["status", document.standing + (run.holder.map { " (\($0))" } ?? "")],
            ["image", document.image], ["began", began],
        ]
        if document.place != SandboxPlace.local.description { rows.append(["place", document.place]) }
        if let finished = run.finishedAt { rows.append(["took", spanText(run.createdAt.distance(to: finished))]) }
        if let result = document.result {
            rows.append(["snapshot", result.snapshotID + (result.cached ? " (cached)" : "")])
            rows.append(["size", "\(byteCountText(result.size)), \(result.entries) entries"])
        }
        if let queue = document.queue {
            rows.append(["queue", queue.name + (queue.priority == 0 ? "" : ", priority \(queue.priority)")])
            if document.standing == "queued", !run.isForeign {
                rows.append(["next", "snapwf worker --queue \(queue.name)"])
            }
        }
        if run.isForeign, !run.status.isFinished {
            rows.append(["note", "another version of snapwf recorded it, and only that one can go on with it"])
        }
        if run.isLeft, !run.status.isFinished { rows.append(["next", "snapwf resume \(document.id)"]) }
        if run.status == .running || run.status == .sleeping {
            rows.append(["next", "snapwf logs --follow \(document.id)"])
        }
        return rows
    }

    private func row(_ resource: ResourceRecord) -> [String] {
        ["\(resource.name) #\(resource.generation)", resource.state.rawValue, resource.externalID ?? "-"]
    }
}

extension RunRecord {
    /// The process that works on it, if there is one.
    var holder: String? {
        guard status == .running || status == .sleeping else { return nil }
        return owner.map { "process \($0.pid) on \($0.host)" }
    }
}
