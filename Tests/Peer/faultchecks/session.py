"""A peer and its organisations, seen with sockets."""

import base64
import http.client
import json
import os
import signal
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SERVICE = "/depot.sandbox.v1.SandboxService/"
CHECKS = []
RUNNING = "SANDBOX_STATUS_RUNNING"


def check(body):
    CHECKS.append(body)
    return body


def expect(truth, what):
    if not truth:
        raise AssertionError(what)


def same(found, wanted, what):
    expect(found == wanted, f"{what}: {found!r}, not {wanted!r}")


class Peer:
    """A peer process that can be killed and started again on the same state and port."""

    def __init__(self, state):
        self.state = state
        self.port = 0
        self.lifeline, self.write_end = os.pipe()
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "peer.py"), "--state", self.state, "--listen", f"127.0.0.1:{self.port}"]
            + ["--lifeline"],
            stdin=self.lifeline,
            stdout=subprocess.PIPE,
        )
        line = self.process.stdout.readline()
        expect(line, "the peer did not start")
        self.port = int(json.loads(line)["url"].rpartition(":")[2])

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait(self):
        self.process.wait(30)

    def journal(self, *events):
        with open(os.path.join(self.state, "journal")) as file:
            return [line for line in map(json.loads, file) if line["event"] in events]


class Org:
    """One organisation's calls, and what it is to meet."""

    def __init__(self, peer, name):
        self.peer = peer
        self.name = name

    def control(self, **document):
        connection = http.client.HTTPConnection("127.0.0.1", self.peer.port, timeout=30)
        connection.request("POST", "/_control", json.dumps({"org": self.name} | document))
        answer = connection.getresponse()
        told = json.loads(answer.read())
        same(answer.status, 200, f"control: {told}")
        return told

    def fault(self, method, fault, **more):
        self.control(rules=[{"method": method, "fault": fault} | more])

    def settings(self, **settings):
        self.control(settings=settings)

    def send(self, method, body, kind="application/json", timeout=30, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.peer.port, timeout=timeout)
        every = {"content-type": kind, "x-depot-org": self.name} | dict(headers)
        connection.request("POST", SERVICE + method, body, every)
        return connection.getresponse()

    def unary(self, method, **request):
        """Status and document; the document is None for what is no JSON."""
        answer = self.send(method, json.dumps(request))
        data = answer.read()
        is_json = answer.headers["content-type"] == "application/json"
        return answer.status, json.loads(data) if is_json else None

    def ok(self, method, **request):
        status, document = self.unary(method, **request)
        same(status, 200, f"{method}: {document}")
        return document

    def fails(self, code, method, **request):
        status, document = self.unary(method, **request)
        same(document and document.get("code"), code, f"{method}: {status} {document}")

    def create(self, **request):
        """The id of a sandbox that runs."""
        name = self.ok("CreateSandbox", **request)["sandbox"]["sandboxId"]
        self.until(name, RUNNING)
        return name

    def until(self, name, *states):
        end = time.monotonic() + 30
        while True:
            status = self.ok("GetSandbox", id=name)["sandbox"]["status"]
            if status in states:
                return status
            expect(time.monotonic() < end, f"{name} stays {status}")
            time.sleep(0.01)

    def listed(self):
        """Ids of all pages."""
        found, token = [], {}
        while True:
            page = self.ok("ListSandboxes", **token)
            found += [sandbox["sandboxId"] for sandbox in page.get("sandboxes", [])]
            if "nextPageToken" not in page:
                return found
            token = {"pageToken": page["nextPageToken"]}

    def living(self):
        return self.control()["living"]

    def run(self, sandbox, script, **more):
        """What a stream brought: names of events, "end" or "error: code" for its end, and the output."""
        request = {"sandbox": {"id": sandbox}, "cmd": "/bin/sh", "args": ["-c", script]} | more
        payload = json.dumps(request).encode()
        names, output = [], b""
        answer = self.send("RunCommand", struct.pack(">BI", 0, len(payload)) + payload, "application/connect+json")
        same(answer.status, 200, "status of a stream")
        for flags, message in envelopes(answer, names):
            if flags & 2:
                error = message.get("error")
                names.append(f"error: {error['code']}" if error else "end")
                continue
            name = next(iter(message))
            names.append(name)
            output += base64.b64decode(message[name].get("data", "")) if name == "stdout" else b""
        return names, output


def envelopes(answer, names):
    """The messages of a stream; how it was cut is added to `names`."""
    data = b""
    while True:
        while len(data) >= 5 and len(data) >= 5 + struct.unpack(">I", data[1:5])[0]:
            size = struct.unpack(">I", data[1:5])[0]
            yield data[0], json.loads(data[5 : 5 + size])
            data = data[5 + size :]
        try:
            piece = answer.read1(65536)
        except (ConnectionResetError, http.client.IncompleteRead):
            names.append("reset")
            return
        if not piece:
            if data:
                names.append(f"part of {len(data)}")
            names.append("close")
            return
        data += piece


def is_reset(body):
    """Whether the connection broke instead of an answer."""
    try:
        body()
    except (ConnectionResetError, http.client.RemoteDisconnected, http.client.IncompleteRead, BrokenPipeError):
        return True
    return False


def processes_of(state):
    """Sandboxes' processes on this machine that belong to a state."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                found += [name] if state.encode() in file.read() and int(name) != os.getpid() else []
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found
