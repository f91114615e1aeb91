import ArgumentParser
import Foundation
import HelperInterface
import SnapshotSteps
import TestSupport
import Testing

@testable import snapwf

/// Settings from the environment, a directory's file and one's own, in that order.
struct SettingsTests {
    /// A directory and a home with the files given.
    private func settings(
        project: String? = nil, user: String? = nil, _ variables: [String: String] = [:]
    ) throws -> (Settings, TemporaryDirectory) {
        let place = try TemporaryDirectory()
        for (text, path) in [(project, "/work/snapwf.toml"), (user, "/home/.config/snapwf/config.toml")] {
            let file = URL(fileURLWithPath: place.path + path)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            if let text {
                try Data(text.utf8).write(to: file)
                try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: file.path)
            }
        }
        let all = ["HOME": place.path + "/home"].merging(variables) { $1 }
        return (try Settings(variables: all, directory: place.path + "/work"), place)
    }

    private func refusal(project: String? = nil, user: String? = nil, _ variables: [String: String] = [:]) -> String {
        do {
            _ = try settings(project: project, user: user, variables)
            return "nothing"
        } catch {
            return (error as? SnapshotError).map { "\($0.exitStatus.rawValue) \($0.message)" } ?? "\(error)"
        }
    }

    @Test("the nearest wins: environment, the directory's file, one's own; and it is known where a value comes from")
    func precedence() throws {
        let (settings, place) = try settings(
            project: "memory = \"2GiB\"\ndisk = \"9GiB\"\n",
            user: "# mine\n\nmemory = \"1GiB\"\ndisk = \"8GiB\"\njobs = 7",
            ["SNAPWF_DISK": "10GiB", "SNAPWF_VCPUS": ""])
        let found = settings.values.mapValues { "\($0.texts) \($0.source.words)" }
        #expect(
            found == [
                "memory": "[\"2GiB\"] \(place.path)/work/snapwf.toml:1",
                "disk": "[\"10GiB\"] the environment: SNAPWF_DISK",
                "jobs": "[\"7\"] \(place.path)/home/.config/snapwf/config.toml:5",
            ])
    }

    @Test("flags that the command line does not say are added behind the verbs; what it says stays, also of a group")
    func completion() throws {
        let (settings, _) = try settings(
            user: "memory = \"1GiB\"\nsandbox = \"depot\"\nplain-http = [\"a\", \"b\"]\njobs = 3")
        func completed(_ arguments: String..., verbs: Int = 1) -> [String] {
            settings.completing(arguments, verbs: verbs)
        }
        #expect(
            completed("run", "x") == [
                "run", "--sandbox=depot", "--memory=1GiB", "--plain-http=a", "--plain-http=b", "--jobs=3", "x",
            ])
        #expect(
            completed("run", "--memory", "4GiB", "--api=u", "--plain-http=c", "--jobs=1") == [
                "run", "--memory", "4GiB", "--api=u", "--plain-http=c", "--jobs=1",
            ])
        #expect(
            completed("snapshots", "pull", "r", verbs: 2) == [
                "snapshots", "pull", "--plain-http=a", "--plain-http=b", "r",
            ])
        #expect(completed("ls") == ["ls"] && completed("run", "--help") == ["run", "--help"])
        #expect(completed("boot", "s", "--", "--memory") == ["boot", "s", "--", "--memory"])
    }

    @Test(
        "what is wrong is named with its file, its line and what would be right",
        arguments: [
            ("memroy = 1", ":1: there is no setting \"memroy\"; did you mean memory?"),
            ("\n\njobs = 65", ":3: \"jobs\" must be a number from 1 to 64, not \"65\""),
            ("jobs = [1]", ":1: \"jobs\" must be a text"), ("memory = ", ":1: is no TOML"),
            ("on-interrupt = \"maybe\"", "must be one of keep, kill"), ("ttl = \"soon\"", "must be a span of time"),
            ("plain-http = [1]", "must be a list of texts"), ("[run]\njobs = 1", "there is no setting \"run\""),
        ])
    func wrong(_ text: String, _ saying: String) {
        let refusal = refusal(user: text)
        #expect(refusal.hasPrefix("64 ") && refusal.contains(saying), "\(refusal)")
    }

    @Test(
        "a directory's file may not lead a token astray, start a program or write elsewhere; no file may hold a token")
    func hostileProject() throws {
        let dangerous = Setting.all.filter { !$0.isForProjects }
        #expect(dangerous.count > 10)
        for name in [
            "api", "sandbox", "home", "helper", "creds-file", "snapshot-binary-url", "depot-api-url", "qemu",
            "push",
        ] {
            #expect(dangerous.contains { $0.name == name })
            #expect(refusal(project: "\(name) = \"x\"").contains("may not be set by a directory's file"))
        }
        #expect(refusal(user: "token = \"secret\"").contains("there is no setting \"token\""))
    }

    @Test("a file that others can write is not obeyed; SNAPWF_CONFIG must name one that is there")
    func owners() throws {
        let (_, place) = try settings(user: "jobs = 1")
        let file = place.path + "/home/.config/snapwf/config.toml"
        try FileManager.default.setAttributes([.posixPermissions: 0o666], ofItemAtPath: file)
        #expect(throws: SnapshotError.self) {
            try Settings(variables: ["HOME": place.path + "/home"], directory: place.path)
        }
        #expect(refusal(["SNAPWF_CONFIG": "/no/such/file"]).contains("there is no such file"))
        #expect(try Settings(variables: [:], directory: "/nowhere").values.isEmpty)
    }

    @Test("every setting has a flag that some verb has, or a variable that is explained")
    func table() {
        #expect(Set(Setting.all.map(\.name)).count == Setting.all.count)
        for setting in Setting.all where setting.flag != nil && !setting.verbs.contains("*") {
            for verb in setting.verbs {
                let words = verb.split(separator: " ").map(String.init)
                let help = Snapwf.helpMessage(for: command(words), includeHidden: true)
                #expect(help.contains(setting.flag ?? ""), "\(verb) has no \(setting.flag ?? "")")
            }
        }
    }

    private func command(_ words: [String]) -> any ParsableCommand.Type {
        words.reduce(Snapwf.self as any ParsableCommand.Type) { command, word in
            command.configuration.subcommands.first {
                $0.configuration.commandName == word || $0.configuration.aliases.contains(word)
            } ?? command
        }
    }
}

/// Where runs are recorded.
struct RunsPlaceTests {
    @Test("the store is named by a file of one's own only, and never shown with a password")
    func settings() throws {
        let store = try #require(Setting.named("store"))
        #expect(!store.isForProjects && store.flag == "--store" && store.variable == "SNAPWF_STORE")
        #expect(store.kind.shown("postgresql://u:p@h/d") == "postgresql://u:***@h/d")
        #expect(store.kind.objection(to: "postgresql://u:p@h/d") == nil && store.kind.objection(to: "runs.db") == nil)
        #expect(store.kind.objection(to: "mysql://u:geheim@h/d")?.contains("geheim") == false)
    }

    @Test("a command that goes on in the background is started without the address among its words")
    func detached() {
        let words = ["snapwf", "run", "--store", "postgresql://u:p@h/d", "--detach", "--store=x", "image"]
        #expect(Detachment.words(words) == ["snapwf", "run", "image"])
    }
}
