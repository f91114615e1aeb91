import CGuest
import Glibc
import GuestProtocol

/// Waits for whatever comes next: the host, a process's words, its room for more, its end. One thread; nothing in it
/// blocks but mounting the root.
struct AgentLoop {
    private enum Source {
        case port
        case children
        case report(Job)
        case input(Job)
        case output(Job, Int)
    }

    /// How often a host that is not there is looked for, in milliseconds: its port hangs up all the time.
    private static let hostPause: Int32 = 20

    let agent: Agent
    /// A signalfd(2) for SIGCHLD.
    let children: Int32

    /// Serves until the host ends the machine.
    ///
    /// - Returns: the id of the request to do so.
    func run() throws(SystemError) -> UInt32 {
        var hasHost = true
        while true {
            if let request = agent.powerOff { return request }
            var pollers: [pollfd] = []
            var sources: [Source] = []
            func watch(_ raw: Int32, _ events: Int32, _ source: Source) {
                pollers.append(pollfd(fd: raw, events: Int16(events), revents: 0))
                sources.append(source)
            }
            let hasRoom = agent.port.hasRoom
            if hasHost {
                let events = (hasRoom ? POLLIN : 0) | (agent.port.hasOutgoing ? POLLOUT : 0)
                watch(agent.port.raw, events, .port)
            }
            watch(children, POLLIN, .children)
            for job in agent.jobs.values { watchJob(job, hasRoom: hasRoom, watch) }
            let count = poll(&pollers, nfds_t(pollers.count), hasHost ? -1 : Self.hostPause)
            guard count >= 0 || errno == EINTR else { throw SystemError(errno, "wait for the host") }
            if !hasHost { hasHost = try servePort(isHungUp: true) }
            for (poller, source) in zip(pollers, sources) where count > 0 && poller.revents != 0 {
                if case .port = source {
                    hasHost = try servePort(isHungUp: poller.revents & Int16(POLLHUP) != 0)
                } else {
                    serve(source, poller.revents)
                }
            }
            for job in agent.jobs.values { agent.settle(job) }
            try agent.port.flush()
        }
    }

    private func watchJob(_ job: Job, hasRoom: Bool, _ watch: (Int32, Int32, Source) -> Void) {
        if let report = job.report { watch(report.raw, POLLIN, .report(job)) }
        if let input = job.input {
            let isWaiting = !job.pendingInput.isEmpty
            // With no events asked for, a pipe says when nobody reads any more; a terminal that nobody has open would say
            // so without end.
            if isWaiting || job.terminal == nil { watch(input.raw, isWaiting ? POLLOUT : 0, .input(job)) }
        }
        // Output follows the word that the program runs.
        guard hasRoom, job.hasStarted else { return }
        for (index, output) in job.outputs.enumerated() where output.window.piece > 0 {
            if let descriptor = output.descriptor { watch(descriptor.raw, POLLIN, .output(job, index)) }
        }
    }

    private func serve(_ source: Source, _ events: Int16) {
        switch source {
        case .port: break
        case .children:
            cguest_forget_signals(children)
            agent.reap()
        case .report(let job): agent.readReport(job)
        case .input(let job):
            if events & Int16(POLLERR) != 0 { agent.closeInput(job) } else { agent.feed(job) }
        case .output(let job, let index): agent.drain(job, index)
        }
    }

    /// - Returns: whether a host is there.
    private func servePort(isHungUp: Bool) throws(SystemError) -> Bool {
        try agent.port.flush()
        guard agent.port.hasRoom else { return !isHungUp }
        let hasHost = try agent.port.receive()
        while let frame = agent.port.next() { agent.take(frame) }
        return hasHost
    }
}
