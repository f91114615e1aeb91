"""A sandbox's processes: a PID-1 of its own below bubblewrap, and whatever is put beside it with nsenter.

The PID-1 belongs to no server: it lives until it is killed, until its lifeline (a pipe) ends, or for two hours. It is
known again by boot id, process id and start time.
"""

import asyncio
import ctypes
import errno
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import threading

USER = 1000
_LIFETIME = 7200
_BOOT_DEADLINE_MS = 20_000
_SYSTEM_FILES = (
    "alternatives",
    "ca-certificates",
    "gai.conf",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "nsswitch.conf",
    "os-release",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
)
_SYSTEM_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_libc = ctypes.CDLL(None, use_errno=True)
# setgroups, setresgid, setresuid: by number, because the functions of these names change every thread.
_IDENTITY_CALLS = {"x86_64": (116, 119, 117), "aarch64": (159, 149, 147)}[platform.machine()]
_CLONE_NEWNS = 0x0002_0000
_CLONE_FS = 0x0000_0200


class ProcessGone(Exception):
    """The sandbox's PID-1 ended in the meantime."""


def require_tools():
    """The reason why sandboxes cannot be made here, or None."""
    if os.getuid() != 0:
        return "the peer's sandboxes have users of their own: run it as root"
    missing = [tool for tool in ("bwrap", "nsenter") if shutil.which(tool) is None]
    return f"the peer needs {' and '.join(missing)}: apt-get install bubblewrap util-linux" if missing else None


def boot_id():
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def start_time(pid):
    """In clock ticks since boot, or None for a process that is not there."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def make_root(root, work):
    """The sandbox's own files. Only root may write in /, like on most machines."""
    for name, mode, owner in (
        ("", 0o755, 0),
        ("etc", 0o755, 0),
        ("root", 0o700, 0),
        ("tmp", 0o1777, 0),
        ("home", 0o755, 0),
        ("home/depot", 0o755, USER),
        ("var", 0o755, 0),
        ("work" if work else "mnt", 0o755, USER),
    ):
        path = os.path.join(root, name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        os.chown(path, owner, owner)
    for name in (*_SYSTEM_FOLDERS, "var/tmp"):
        path, target = os.path.join(root, name), "../tmp"
        if name in _SYSTEM_FOLDERS:
            if not os.path.islink("/" + name):
                continue
            target = os.readlink("/" + name)
        # Not by bwrap, which cannot do it twice.
        if not os.path.lexists(path):
            os.symlink(target, path)
    with open(os.path.join(root, "etc/passwd"), "w") as file:
        file.write(f"root:x:0:0::/root:/bin/sh\ndepot:x:{USER}:{USER}::/home/depot:/bin/sh\n")
    with open(os.path.join(root, "etc/group"), "w") as file:
        file.write(f"root:x:0:\ndepot:x:{USER}:\n")


def _bubblewrap(root, status):
    arguments = ["bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "sandbox", "--new-session"]
    arguments += ["--json-status-fd", str(status), "--bind", root, "/", "--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM_FOLDERS:
        if os.path.isdir("/" + name) and not os.path.islink("/" + name):
            arguments += ["--ro-bind", "/" + name, "/" + name]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    for name in _SYSTEM_FILES:
        arguments += ["--ro-bind-try", "/etc/" + name, "/etc/" + name]
    return arguments


def _is_up(descriptor):
    """Waits for a byte of a pipe; false at its end and after the deadline."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(_BOOT_DEADLINE_MS)) and os.read(descriptor, 1) != b""


def boot(root, lifeline, record):
    """Starts a PID-1 and calls `record(pid, start time)`; it waits for that, so that none is ever unknown.

    Blocking: some milliseconds. Returns the bwrap process to be waited for.
    """
    # Not a pipe: a server that is killed now must not end bwrap before it has told its child to go on, for which the
    # child would wait for ever.
    status = os.memfd_create("status")
    up, up_write = os.pipe()
    go_read, go = os.pipe()
    rest = "read -r line" if lifeline is not None else f"exec sleep {_LIFETIME}"
    script = f"echo up; read -r go </proc/self/fd/{go_read} || exit 0; exec >/dev/null; {rest}"
    try:
        process = subprocess.Popen(
            _bubblewrap(root, status) + ["/bin/sh", "-c", script],
            stdin=subprocess.DEVNULL if lifeline is None else lifeline,
            stdout=up_write,
            stderr=subprocess.DEVNULL,
            pass_fds=(status, go_read),
            start_new_session=True,
            cwd="/",
            env={"PATH": _PATH},
        )
    finally:
        os.close(up_write)
        os.close(go_read)
    try:
        if not _is_up(up):
            raise ProcessGone("bwrap did not start")
        pid = json.loads(os.pread(status, 4096, 0).partition(b"\n")[0])["child-pid"]
        record(pid, start_time(pid))
        os.write(go, b"go\n")
        return process
    finally:
        # What has not been told to go ends here.
        for descriptor in (status, up, go):
            os.close(descriptor)


def end(pidfd):
    """Ends everything in a sandbox."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass


def start_command(pid, command, directory, environment, sudo, detached):
    """A process in the sandbox. Not detached, its output is to be read from two pipes."""
    environment = {"PATH": _PATH, "LANG": "C.UTF-8"} | environment
    environment.setdefault("HOME", "/root" if sudo else "/home/depot")
    environment.setdefault("USER", "root" if sudo else "depot")
    arguments = ["/usr/bin/nsenter", f"--target={pid}", "--mount", "--pid", "--ipc", "--uts"]
    arguments += [f"--wdns={directory or environment['HOME']}"]
    if not sudo:
        arguments += [f"--setuid={USER}", f"--setgid={USER}"]
    output = subprocess.DEVNULL if detached else subprocess.PIPE
    return subprocess.Popen(
        arguments + ["--"] + command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        start_new_session=True,
        cwd="/",
    )


def _checked(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _enter(pid, sudo):
    """Gives the calling thread the files and the rights of a sandbox's process. There is no way back."""
    try:
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _checked(_libc.unshare(_CLONE_FS))
            _checked(_libc.setns(namespace, _CLONE_NEWNS))
        finally:
            os.close(namespace)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            raise ProcessGone(f"process {pid}: {error}") from None
        raise
    if not sudo:
        groups, group, user = _IDENTITY_CALLS
        _checked(_libc.syscall(groups, 0, None))
        _checked(_libc.syscall(group, USER, USER, USER))
        _checked(_libc.syscall(user, USER, USER, USER))


async def inside(pid, sudo, body):
    """Runs `body` with the sandbox's files and the caller's rights, in a thread of its own.

    File system, user and groups belong to a thread in Linux, so the rest of the process does not notice; the thread
    ends with the call and is never used again.
    """
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def settle(value, error):
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)

    def run():
        value, failure = None, None
        try:
            _enter(pid, sudo)
            value = body()
        except Exception as error:
            failure = error
        loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=run, daemon=True).start()
    return await future
