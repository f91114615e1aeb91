import Glibc
import Logging
import Sandbox

// The program behind the tests: the shim itself, and clients that live and die in processes of their own.
//
//     SandboxShimHost sandbox-shim DIRECTORY
//     SandboxShimHost guest-shim DIRECTORY
//     SandboxShimHost create ROOT NAME SECONDS [POINT]     dies by KILL at a point of `LocalProvider`'s probe
//     SandboxShimHost run ROOT ID PROGRAM [ARGUMENT…]
//     SandboxShimHost kill ROOT ID [POINT]
//     SandboxShimHost list ROOT
//     SandboxShimHost sweep ROOT
//     SandboxShimHost check ROOT
//     SandboxShimHost durable ROOT ID KEY SCRIPT           starts a command and ends at once

let arguments = CommandLine.arguments
if arguments.count == 3 && arguments[1] == "sandbox-shim" {
    exit(runSandboxShim(directory: arguments[2]))
}
if arguments.count == 3 && arguments[1] == "guest-shim" {
    exit(runGuestShim(directory: arguments[2]))
}
guard arguments.count >= 3 else { exit(64) }

/// A provider that kills this very process when it comes to a point.
func provider(dyingAt point: String?) -> LocalProvider {
    LocalProvider(
        configuration: .init(
            root: arguments[2],
            shimCommand: [programPath(), "sandbox-shim"],
            probe: { if $0 == point { _ = kill(getpid(), SIGKILL) } }
        )
    )
}

func programPath() -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count)
    return String(decoding: buffer[..<max(0, count)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

func argument(_ index: Int) -> String {
    guard arguments.indices.contains(index) else { exit(64) }
    return arguments[index]
}

func optionalArgument(_ index: Int) -> String? {
    arguments.indices.contains(index) ? arguments[index] : nil
}

do {
    switch arguments[1] {
    case "check":
        try await provider(dyingAt: nil).check()
        print("ok")
    case "create":
        guard let seconds = Int64(argument(4)) else { exit(64) }
        let spec = SandboxSpec(
            name: argument(3), labels: ["SNAPWF_RUN": argument(3)], timeToLive: .seconds(seconds)
        )
        print(try await provider(dyingAt: optionalArgument(5)).create(spec).id)
    case "run":
        let command = ShortCommand(Array(arguments.dropFirst(4)))
        let output = try await provider(dyingAt: nil).run(command, in: SandboxID(argument(3)))
        print(output.text, terminator: "")
        exit(output.exitCode)
    case "kill":
        try await provider(dyingAt: optionalArgument(4)).kill(SandboxID(argument(3)))
    case "list":
        for info in try await provider(dyingAt: nil).list() { print(info.id, info.name, info.state) }
    case "sweep":
        for id in try await provider(dyingAt: nil).sweep() { print(id) }
    case "durable":
        let runner = DurableCommandRunner(
            provider: provider(dyingAt: nil), sandbox: SandboxID(argument(3)), logger: Logger(label: "durable")
        )
        print(try await runner.start(DurableCommand(key: argument(4), script: argument(5))))
    default:
        exit(64)
    }
} catch {
    print("error: \(error)")
    exit(1)
}
