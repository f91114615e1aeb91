import ArgumentParser

/// Where else an image may come from than its registry.
struct InputOptions: ParsableArguments {
    @Option(
        name: .customLong("mirror"),
        help: ArgumentHelp(
            "A registry to ask before another, such as docker.io=mirror.example/hub. May be repeated.",
            discussion: """
                Where it fails, the registry itself is asked. It gets the credentials of its own host only, and is \
                believed about tags.
                """,
            valueName: "host=mirror[/prefix]"))
    var mirrors: [String] = []

    @Option(
        help: ArgumentHelp(
            "Keep the layers of registries in this directory, by digest.",
            discussion: """
                A pull that was interrupted goes on where it stopped, and layers that several images have are fetched \
                once. The directory is yours: delete from it what you like at any time, all of it or, say, with \
                find DIR -mtime +30 -delete; what is used gets a new time.
                """,
            valueName: "dir"))
    var cache: String?
}
