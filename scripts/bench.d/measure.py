"""Processes, timed from outside, and the registry that some of them pull from."""
import contextlib, os, signal, socket, statistics, subprocess, sys, threading, time

LONGEST = 900  # seconds that any process may take


class Figures:
    """What the runs of one contender took."""

    def __init__(self):
        self.seconds, self.processor, self.peaks = [], [], []

    def add(self, seconds, usage):
        self.seconds.append(seconds)
        self.processor.append(usage.ru_utime + usage.ru_stime)
        self.peaks.append(usage.ru_maxrss * 1024)

    @property
    def median(self):
        return statistics.median(self.seconds)

    def row(self, what):
        return {"what": what, "runs": len(self.seconds), "seconds": round(self.median, 3),
                "min": round(min(self.seconds), 3), "max": round(max(self.seconds), 3),
                "processorSeconds": round(statistics.median(self.processor), 2),
                "peakBytes": max(self.peaks)}


def timed(command, environment=None):
    """Wall seconds and resource usage of one process and its children, which has to succeed."""
    os.sync()  # what the one before it left to be written is not this one's
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
                             start_new_session=True)
    limit = threading.Timer(LONGEST, os.killpg, (child.pid, signal.SIGKILL))
    limit.daemon = True
    limit.start()
    try:
        said = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - start
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)  # it has a session of its own and would go on
        raise
    finally:
        limit.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        words = " ".join(map(str, command))
        sys.exit(f"bench: exit {child.returncode} of: {words}\n{said.decode(errors='replace')}")
    return seconds, usage


@contextlib.contextmanager
def registry(directory):
    """docker-registry on a free port of loopback with its storage below `directory`, killed at the end: `host:port`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    directory.mkdir()
    config = directory / "config.yml"
    config.write_text(f"version: 0.1\nlog: {{level: error}}\n"
                      f"storage: {{filesystem: {{rootdirectory: {directory}/data}}}}\n"
                      f"http: {{addr: '127.0.0.1:{port}'}}\n")
    with open(directory / "log", "wb") as log:
        server = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > end:
                    sys.exit(f"bench: docker-registry does not listen:\n{(directory / 'log').read_text()}")
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def push(layout, reference):
    subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false",
                    f"oci:{layout}:latest", f"docker://{reference}"], check=True, timeout=LONGEST)
