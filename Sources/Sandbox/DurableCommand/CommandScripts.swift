/// The shell scripts of the durable command: POSIX sh and a handful of tools that busybox has as well.
///
///     <directory>/<key>/
///         log             standard output and error of every attempt, only ever appended to
///         run.sh          the command; its environment is in there
///         secrets/        files of mode 0600; gone when the command ended
///         started/        the claim: whoever made this directory starts the command
///             token       tells this claim from another
///             launched/   whoever made this directory may run run.sh; there at most once a claim
///             pid         process, start time (field 22 of /proc/pid/stat), boot id
///             rc          the exit code; the only proof of an end
///         dead.*          claims whose command was lost
///
/// A process that holds a claim works in it as its working directory. When the claim is taken over, the directory is
/// renamed: what the old holder still writes goes where nobody looks, and its last check sends it home.
enum CommandScripts {
    /// Exit codes of the scripts, apart from those of shells and tools.
    static let missingTool: Int32 = 69
    static let cannot: Int32 = 71
    static let notMine: Int32 = 75

    /// Sets `state` and `start` from /proc/$1/stat. The name in it is in parentheses and may hold anything.
    private static let processStatus = """
        process_status() {
            state= start=
            read -r line 2> /dev/null < "/proc/$1/stat" || return 1
            set -- ${line##*) }
            state=$1 start=${20}
        }
        boot_id() {
            boot=-
            read -r boot 2> /dev/null < /proc/sys/kernel/random/boot_id || boot=-
        }

        """

    /// $1 the command's directory, $2 this claim's token.
    static let claim = """
        missing=
        for tool in cat dd ls mkdir mv rm setsid sleep sync tail; do
            command -v "$tool" > /dev/null 2>&1 || missing="$missing $tool"
        done
        [ -r /proc/self/stat ] || missing="$missing /proc"
        if [ -n "$missing" ]; then echo "$missing" >&2; exit \(missingTool); fi
        umask 077
        mkdir -p "$1" && cd "$1" || exit \(cannot)
        if ! mkdir started 2> /dev/null; then
            [ -d started ] && exit \(notMine)
            mkdir started || exit \(cannot)
        fi
        echo "$2" > started/token
        """

    /// $1 the command's directory, $2 the claim's token.
    static let launch = """
        umask 077
        home=$PWD
        cd "$1/started" || exit \(notMine)
        [ "$(cat token 2> /dev/null)" = "$2" ] || exit \(notMine)
        mkdir launched 2> /dev/null || exit \(notMine)
        setsid sh ../run.sh "$2" "$home" < /dev/null > /dev/null 2>&1 &
        tries=0
        while [ ! -f pid ]; do
            tries=$((tries + 1))
            [ "$tries" -lt 100 ] || exit \(cannot)
            sleep 0.05 2> /dev/null || sleep 1
        done
        """

    /// $1 the command's directory, $2 the token that was seen, $3 a random name, $4 `claimed` or `lost`.
    static let takeOver =
        processStatus + """
            cd "$1" 2> /dev/null && [ -d started ] || exit 0
            [ "$(cat started/token 2> /dev/null)" = "$2" ] && [ ! -f started/rc ] || exit \(notMine)
            [ "$4" = lost ] || [ ! -f started/pid ] || exit \(notMine)
            mv started "dead.$3" || exit \(cannot)
            rm -rf secrets
            if read -r pid began booted 2> /dev/null < "dead.$3/pid"; then
                boot_id
                tries=0
                # A leader that is gone keeps its group's number for as long as the group has members.
                while [ "$booted" = "$boot" ]; do
                    if process_status "$pid"; then [ "$start" = "$began" ] || break; fi
                    kill -KILL "-$pid" 2> /dev/null || break
                    [ "$state" != Z ] || break
                    tries=$((tries + 1))
                    [ "$tries" -lt 100 ] || exit \(cannot)
                    sleep 0.05 2> /dev/null || sleep 1
                done
            fi
            if [ -s log ] && [ -n "$(tail -c 1 log)" ]; then echo >> log; fi
            exit 0
            """

    /// $1 the command's directory, $2 a signal.
    static let signal =
        processStatus + """
            read -r pid began booted 2> /dev/null < "$1/started/pid" || exit \(notMine)
            boot_id
            [ "$booted" = "$boot" ] || exit \(notMine)
            process_status "$pid" && [ "$start" = "$began" ] || exit \(notMine)
            kill "-$2" "-$pid"
            """

    /// The unit of `dd`, and the most of them in an answer: a chunk of 1 MiB wherever it starts.
    static let block: UInt64 = 64 << 10
    static let mostBlocks: UInt64 = 17

    /// $1 the command's directory, $2 the offset in the log, or `-` for no log.
    ///
    /// The order matters. Alive before `rc`: a process that was gone then wrote its `rc` before. Both before the log:
    /// with an `rc` the log is whole.
    static let ask =
        processStatus + """
            directory=$1 offset=$2
            boot_id
            echo "snapwf-command 1"
            echo "boot $boot"
            if [ -d "$directory/started" ]; then
                token=
                [ -f "$directory/started/token" ] && read -r token < "$directory/started/token"
                echo "claim $token"
                if read -r pid began booted 2> /dev/null < "$directory/started/pid"; then
                    alive=no
                    process_status "$pid" && [ "$start" = "$began" ] && [ "$state" != Z ] && alive=yes
                    echo "pid $pid $booted $alive"
                fi
                if read -r code 2> /dev/null < "$directory/started/rc"; then echo "rc $code"; fi
            fi
            size=0
            if [ -f "$directory/log" ]; then set -- $(ls -ln "$directory/log"); size=$5; fi
            echo "size $size"
            skip=0 count=0
            if [ "$offset" != - ]; then
                skip=$((offset / \(block)))
                count=$((size - skip * \(block)))
                [ "$count" -ge 0 ] || count=0
                [ "$count" -le \(block * mostBlocks) ] || count=\(block * mostBlocks)
            fi
            echo "data $count"
            echo
            [ "$count" = 0 ] || dd if="$directory/log" bs=\(block) skip="$skip" count=\(mostBlocks) 2> /dev/null
            """

    /// run.sh. Runs in the claim's directory; $1 is the token, $2 the work directory of commands in this sandbox.
    static func run(_ command: DurableCommand, secrets: String) -> String {
        var lines: [String] = []
        for (name, value) in command.environment.sorted(by: { $0.key < $1.key }) {
            lines.append("export \(name)=\(quote(value))")
        }
        if !command.secrets.isEmpty { lines.append("export SNAPWF_SECRETS=\(quote(secrets))") }
        if let folder = command.workingDirectory {
            lines.append("cd \(quote(folder)) || exit 126")
        } else {
            lines.append("cd \"$2\" || exit 126")
        }
        lines.append("exec " + command.arguments.map(quote).joined(separator: " "))
        return processStatus + """
            umask 022
            process_status $$ || exit 1
            boot_id
            # The exit file's space is taken now: a command that fills the disk must still be able to end.
            echo "                " > rc.tmp || exit 1
            echo "$$ $start $boot" > pid.tmp && mv pid.tmp pid || exit 1
            [ "$(cat ../started/token 2> /dev/null)" = "$1" ] || exit 1
            # Signals for the group are for the command; this process stays to record its end.
            trap : HUP INT TERM
            (
            trap - HUP INT TERM
            \(lines.joined(separator: "\n"))
            ) < /dev/null >> ../log 2>&1
            code=$?
            rm -rf ../secrets
            echo "$code" 1<> rc.tmp
            sync rc.tmp 2> /dev/null || sync
            mv rc.tmp rc

            """
    }

    /// One word for a shell, whatever is in it.
    static func quote(_ text: String) -> String {
        "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }
}
