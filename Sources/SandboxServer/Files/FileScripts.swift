/// How files are handled inside a sandbox: scripts for its `/bin/sh`, with the tools of coreutils or busybox.
///
/// Everything that names a file is an argument, never part of the text. Paths are absolute, so none is taken for an
/// option. A failure's last words on standard error are those of the C library.
///
/// Before a tool is run, the cases are sorted out in which it does not do what the system call of that name does, such
/// as `mv` with a directory as its target. Between the look and the act the sandbox can change things; it then fools
/// only itself, because all of this runs inside.
enum FileScripts {
    /// Ends the script with the C library's words for what is wrong.
    private static let fail = """
        fail() { printf '%s: %s\\n' "$1" "$2" >&2; exit 1; }

        """

    /// $1 path, $2 mode or nothing, $3 `-p` or nothing.
    static let mkdir = """
        umask 022
        exec mkdir $3 -m "${2:-755}" -- "$1"
        """

    /// $1 path, $2 `-L` or nothing.
    static let stat = """
        exec stat $2 -c '%f %s %Y
        %U
        %G' -- "$1"
        """

    /// $1 path. Each entry is a letter for its type and its name, with a zero byte at the end.
    static let readDir =
        fail + """
            stat -L -- "$1" > /dev/null || exit 1
            [ -d "$1" ] || fail "$1" 'Not a directory'
            [ -r "$1" ] && cd "$1" 2> /dev/null || fail "$1" 'Permission denied'
            for name in * .[!.]* ..?*; do
                if [ -L "./$name" ]; then type=l
                elif [ -f "./$name" ]; then type=f
                elif [ -d "./$name" ]; then type=d
                elif [ -b "./$name" ]; then type=b
                elif [ -c "./$name" ]; then type=c
                elif [ -p "./$name" ]; then type=p
                elif [ -S "./$name" ]; then type=s
                elif [ -e "./$name" ]; then type=u
                else continue
                fi
                printf '%s%s\\0' "$type" "$name"
            done
            """

    /// $1 path, $2 `recursive` or nothing. A directory without it must be empty.
    static let remove = """
        stat -- "$1" > /dev/null || exit 1
        if [ -d "$1" ] && [ ! -L "$1" ]; then
            [ "$2" = recursive ] || exec rmdir -- "$1"
            exec rm -rf -- "$1"
        fi
        exec rm -f -- "$1"
        """

    /// $1 from, $2 to. Within a file system as rename(2) has it; across, a copy and a removal.
    static let rename =
        fail + """
            first=$(stat -c '%d:%i' -- "$1") || exit 1
            isDirectory=
            if [ -d "$1" ] && [ ! -L "$1" ]; then isDirectory=1; fi
            if [ -e "$2" ] || [ -L "$2" ]; then
                second=$(stat -c '%d:%i' -- "$2") || exit 1
                [ "$first" != "$second" ] || exit 0
            fi
            case $isDirectory$2 in "1$1"/*) fail "$2" 'Invalid argument' ;; esac
            if [ -d "$2" ] && [ ! -L "$2" ]; then
                [ -n "$isDirectory" ] || fail "$2" 'Is a directory'
                rmdir -- "$2" || exit 1
            elif [ -n "$isDirectory" ] && { [ -e "$2" ] || [ -L "$2" ]; }; then
                fail "$2" 'Not a directory'
            elif [ -L "$2" ] && [ -d "$2" ]; then
                # Without -T mv moves into the directory behind the link; busybox may not know it.
                mv -fT -- "$1" "$2" 2> /dev/null && exit 0
                rm -f -- "$2" || exit 1
            fi
            exec mv -f -- "$1" "$2"
            """

    /// $1 from, $2 to, $3 `-p` or nothing.
    static let copy =
        fail + """
            first=$(stat -L -c '%d:%i' -- "$1") || exit 1
            [ ! -d "$1" ] || fail "$1" 'Is a directory'
            [ -f "$1" ] || fail "$1" 'Invalid argument'
            if [ -e "$2" ]; then
                [ ! -d "$2" ] || fail "$2" 'Is a directory'
                [ -f "$2" ] || fail "$2" 'Invalid argument'
                second=$(stat -L -c '%d:%i' -- "$2") || exit 1
                [ "$first" != "$second" ] || fail "$2" 'Invalid argument'
            fi
            exec cp $3 -- "$1" "$2"
            """

    /// $1 path, $2 size in bytes.
    static let truncate =
        fail + """
            stat -L -- "$1" > /dev/null || exit 1
            [ ! -d "$1" ] || fail "$1" 'Is a directory'
            [ -f "$1" ] || fail "$1" 'Invalid argument'
            exec truncate -s "$2" -- "$1"
            """

    /// $1 path, $2 mode. Five digits and more also take the bits away that fewer leave on a directory.
    static let chmod = """
        exec chmod "0000$2" -- "$1"
        """

    /// $1 path, $2 the owner as chown(1) has it.
    static let chown = """
        exec chown "$2" -- "$1"
        """

    /// $1 target, $2 path of the link.
    static let symlink =
        fail + """
            if [ -e "$2" ] || [ -L "$2" ]; then fail "$2" 'File exists'; fi
            exec ln -s -- "$1" "$2"
            """

    /// $1 path.
    static let readlink =
        fail + """
            stat -- "$1" > /dev/null || exit 1
            [ -L "$1" ] || fail "$1" 'Invalid argument'
            exec readlink -- "$1"
            """

    /// $1 path, then some of `r`, `w`, `x`.
    static let access =
        fail + """
            path=$1
            stat -L -- "$path" > /dev/null || exit 1
            shift
            for what; do
                case $what in
                    r) [ -r "$path" ] ;;
                    # A shell may think that root writes everywhere; to append nothing proves it and changes nothing.
                w) [ -w "$path" ] && { [ ! -f "$path" ] || ( : >> "$path" ) 2> /dev/null; } ;;
                    x) [ -x "$path" ] ;;
                esac || fail "$path" 'Permission denied'
            done
            """

    /// $1 path.
    static let read =
        fail + """
            stat -L -- "$1" > /dev/null || exit 1
            [ ! -d "$1" ] || fail "$1" 'Is a directory'
            [ -f "$1" ] || fail "$1" 'Invalid argument'
            exec cat -- "$1"
            """

    /// $1 path, $2 mode or nothing, $3 `append` or nothing, $4 `parents` or nothing; the bytes on standard input.
    ///
    /// In place, so an old file keeps its owner and its links, and, without $2, its mode. The mode is set before the
    /// first byte is written: nobody reads a secret in between.
    static let write =
        fail + """
            umask 022
            mode=$2
            if [ -e "$1" ]; then
                [ ! -d "$1" ] || fail "$1" 'Is a directory'
                [ -f "$1" ] || fail "$1" 'Invalid argument'
            else
                parent=${1%/*}/.
                if [ "$4" = parents ]; then mkdir -p -- "$parent" || exit 1; fi
                stat -L -- "$parent" > /dev/null || exit 1
                mode=${2:-644}
            fi
            umask 077
            if [ "$3" = append ]; then exec 3>> "$1"; else exec 3> "$1"; fi
            if [ -n "$mode" ]; then chmod "0$mode" -- "$1" || exit 1; fi
            exec cat >&3
            """
}
