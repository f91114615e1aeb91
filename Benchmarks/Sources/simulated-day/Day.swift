import Foundation
import WorkflowTesting

/// One image that somebody wants a snapshot of.
struct Job: Sendable {
    /// Seconds since midnight.
    let arrival: Double
    /// Of its compressed layers.
    let megabytes: Double
    /// How long its sandbox takes to come, in seconds.
    let creation: Double
    /// Of the network that its sandbox happens to have, in megabytes a second.
    let speed: Double

    /// How long the helper works: it starts, and it is as fast as what it reads.
    var pull: Double { 6 + megabytes / speed }
    /// How long the finished snapshot takes to get to a registry, at about the same speed: the filesystem compresses well.
    var push: Double { 2 + megabytes / (speed * 2) }
}

/// What arrives in a day, from a seed alone.
///
/// Sizes are log-normal, with a median of 550 MB and a long tail, cut at 12 GB. Arrivals follow the hours of one continent's
/// working day, with a floor at night; an eighth comes in bursts, as when a base image is released and all that is built on it
/// is built anew.
struct Day: Sendable {
    static let seconds = 86_400.0
    let jobs: [Job]

    init(count: Int, seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var arrivals: [Double] = []
        let bursts = 14
        let ofBurst = count / 8 / bursts
        for _ in 0..<bursts {
            let beginning = Self.arrival(&random)
            for _ in 0..<ofBurst { arrivals.append(min(beginning + Self.uniform(&random) * 90, Self.seconds - 1)) }
        }
        while arrivals.count < count { arrivals.append(Self.arrival(&random)) }
        jobs = arrivals.sorted().map { arrival in
            let megabytes: Double = 550 * exp(Self.normal(&random))
            let creation: Double = 2.5 * exp(0.5 * Self.normal(&random))
            let speed: Double = 24 * exp(0.25 * Self.normal(&random))
            return Job(arrival: arrival, megabytes: min(megabytes, 12_000), creation: creation, speed: speed)
        }
    }

    /// A moment, likelier where more arrives: a quarter of the peak at night, the peak at three in the afternoon.
    private static func arrival(_ random: inout SeededGenerator) -> Double {
        while true {
            let moment: Double = uniform(&random) * seconds
            let hours: Double = (moment / 3600 - 15) / 3.2
            let rate: Double = 0.25 + 0.75 * exp(-hours * hours / 2)
            if uniform(&random) < rate { return moment }
        }
    }

    private static func uniform(_ random: inout SeededGenerator) -> Double {
        Double(random.next() >> 11) / Double(1 << 53)
    }

    private static func normal(_ random: inout SeededGenerator) -> Double {
        let radius = (-2 * log(max(uniform(&random), 1e-300))).squareRoot()
        return radius * cos(2 * .pi * uniform(&random))
    }
}
