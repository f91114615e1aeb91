/// What `snapwf help` explains besides the verbs.
struct HelpTopic: Sendable {
    let name: String
    let abstract: String
    let text: String

    static let all = [exitCodes, errors, environment, settings, names, output]

    private static let exitCodes = HelpTopic(
        name: "exit-codes", abstract: "What each exit code says.",
        text: """
              0  done
              1  failed; the message says why
              2  in doubt: a step needs somebody's decision (snapwf decide)
              3  not found: the image, the run, the snapshot
              4  credentials are missing or wrong: of the registry, or of the Sandbox API
              5  the image or its data is bad, or a snapshot is damaged
              6  something that should answer does not: a registry, an API, bubblewrap
             64  the command line is wrong
             75  interrupted; it can go on: snapwf resume
            130  interrupted twice, at once; it can go on all the same

            Of several images or runs in one command, the code is that of the first of them, in the order of the command
            line, that did not end well. snapwf boot ends with the code of the command in the machine.
            """)

    private static let errors = HelpTopic(
        name: "errors", abstract: "What the codes of errors mean, and what helps.", text: ErrorHelp.list)

    private static let environment = HelpTopic(
        name: "environment", abstract: "The environment variables that snapwf reads.",
        text: """
            SNAPWF_HOME            where runs, snapshots and sandboxes are kept; else $XDG_STATE_HOME/snapwf, else
                                   ~/.local/state/snapwf
            SNAPWF_STORE           where runs are recorded: postgresql://… or a path; else workflow.db in SNAPWF_HOME
            PGPASSFILE, PGSERVICEFILE, PGSSLROOTCERT, …
                                   what libpq reads, for a store on PostgreSQL
            SNAPWF_TOKEN           the token for --api
            DEPOT_TOKEN            the token for --sandbox depot
            DEPOT_ORG_ID           the organization that an organization-wide token acts for
            DEPOT_API_URL          the API of --sandbox depot, instead of Depot's own
            SNAPWF_API_CA_FILE     certificates to trust when an API is spoken to, besides the system's
            SNAPWF_API_LISTING_LAG how long an API's lists may lag behind what was done, such as 5s
            SNAPWF_SERVE_TOKEN     the token that snapwf serve asks for
            SNAPWF_HELPER          the helper, instead of the one that was installed with snapwf
            SNAPWF_KERNEL          the kernel of virtual machines, with its modules in lib/modules beside it
            SNAPWF_QEMU            the emulator of virtual machines
            SNAPWF_AGENT           the first process of virtual machines
            DOCKER_CONFIG          where docker keeps the credentials of registries
            HTTP_PROXY, HTTPS_PROXY, NO_PROXY
                                   how registries and APIs are reached
            SOURCE_DATE_EPOCH      the time that the file system's own structures carry
            NO_COLOR, TERM, LC_ALL, LC_CTYPE, LANG
                                   what may be shown on this terminal
            SNAPWF_CONFIG          the file of settings, instead of ~/.config/snapwf/config.toml
            SNAPWF_MEMORY, SNAPWF_JOBS, …
                                   each setting that snapwf config show lists
            """)

    private static let settings = HelpTopic(
        name: "settings", abstract: "What the files of settings may say.",
        text: """
            ~/.config/snapwf/config.toml (SNAPWF_CONFIG names another) and ./snapwf.toml hold lines such as these:

              memory = "4GiB"
              jobs = 2
              plain-http = ["registry.lan:5000"]

            A flag goes first, then the environment, ./snapwf.toml, config.toml. Only what has a * may stand in
            ./snapwf.toml, since who works in somebody's directory has not agreed to the rest. snapwf config show says
            what is in force, and who said it.


            """
                + Setting.all.map { setting in
                    (setting.isForProjects ? "* " : "  ") + setting.name.filled(to: 20) + " "
                        + setting.kind.words.filled(to: 30) + " " + setting.help
                }.joined(separator: "\n"))

    private static let names = HelpTopic(
        name: "names", abstract: "How images, runs and snapshots are named.",
        text: """
            Images:     ghcr.io/acme/app:1.2, ghcr.io/acme/app@sha256:…, alpine (docker.io/library/alpine:latest),
                        oci:DIRECTORY[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG]
            Runs:       the id, any prefix of it that no other run's id begins with, or @last: the newest
            Snapshots:  the id, a unique prefix of it, a name (--name, snapwf snapshots tag), the key, the SHA-256, or @last
            """)

    private static let output = HelpTopic(
        name: "output", abstract: "What is printed where, and how programs read it.",
        text: """
            Results go to standard output, everything else to standard error.

            -q, --quiet   only the id of the snapshot, or with --output its path: $(snapwf run -q IMAGE)
            --json        one document, or one a line where it goes on; each has a number "schema", and an error is a
                          document, too: {"error": {"code", "message", "next", "exitCode", …}}
            --progress    auto: tty on a terminal, else plain
                          tty: a line a step, drawn again as it goes on
                          plain: a line for each change, for logs
                          json: a line of JSON for each change
                          none: nothing but warnings and errors
            """)

    /// The list under `snapwf help`.
    static var overview: String {
        "HELP TOPICS: (snapwf help TOPIC)\n"
            + all.map { "  " + $0.name.filled(to: 24) + $0.abstract + "\n" }.joined()
    }
}
