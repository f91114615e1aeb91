"""Shows that the peer's faults are what they say, seen from outside: with sockets, and without a Connect library.

    python Tests/Peer/check_faults.py [--only NAME]

One JSON line a check; it exits with 1 when one failed. It starts a peer of its own.
"""

import argparse
import base64
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
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
            stdin=self.lifeline, stdout=subprocess.PIPE,
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


@check
def errors_have_the_body_that_was_asked_for(org):
    org.fault("ListSandboxes", "status", status=503, message="deploying")
    same(org.unary("ListSandboxes"), (503, {"code": "unavailable", "message": "deploying"}), "JSON")
    org.fault("ListSandboxes", "status", status=502, body="html")
    same(org.unary("ListSandboxes"), (502, None), "HTML")
    org.fault("ListSandboxes", "status", status=500, body="empty")
    same(org.unary("ListSandboxes"), (500, None), "nothing")
    org.fault("ListSandboxes", "status", status=429, retry_after=3)
    answer = org.send("ListSandboxes", "{}")
    answer.read()
    same((answer.status, answer.headers["retry-after"]), (429, "3"), "429")
    org.fault("ListSandboxes", "status", status=200, body="garbage")
    answer = org.send("ListSandboxes", "", "application/proto")
    same((answer.status, answer.read()), (200, b"\xff" * 32), "garbage")
    same(org.unary("ListSandboxes")[0], 200, "after all that")


@check
def rules_count_the_calls_of_their_method(org):
    org.fault("ListSandboxes", "status", nth=2, times=2)
    org.ok("GetSandbox", id=org.create())
    same([org.unary("ListSandboxes")[0] for _ in range(5)], [200, 503, 503, 200, 200], "nth 2, twice")
    org.control(clear=True, rules=[{"method": "*", "fault": "status", "every": 3, "times": 0}])
    same([org.unary("ListSandboxes")[0] for _ in range(7)], [200, 200, 503, 200, 200, 503, 200], "every third")


@check
def an_error_can_come_after_the_effect(org):
    org.fault("CreateSandbox", "status", status=500, when="after")
    org.fails("internal", "CreateSandbox", name="made")
    same(org.living(), 1, "sandboxes")


@check
def a_connection_can_be_reset_before_and_after_the_effect(org):
    org.fault("CreateSandbox", "reset", when="before")
    expect(is_reset(lambda: org.unary("CreateSandbox")), "no reset before")
    same(org.living(), 0, "sandboxes after a reset before the effect")
    org.fault("CreateSandbox", "reset", when="after")
    expect(is_reset(lambda: org.unary("CreateSandbox")), "no reset after")
    same(org.living(), 1, "sandboxes after a reset after the effect")
    org.fault("CreateSandbox", "reset", when="answer", bytes=10)
    answer = org.send("CreateSandbox", "{}")
    same(answer.status, 200, "status of the answer that breaks")
    expect(is_reset(answer.read), "no reset within the answer")
    same(org.living(), 2, "sandboxes after a reset within the answer")


@check
def an_upload_can_be_reset_in_the_middle(org):
    sandbox = org.create()
    org.fault("WriteFile", "reset", when="body", bytes=100_000)
    first = json.dumps({"init": {"sandbox": {"id": sandbox}, "path": "/work/half"}}).encode()
    data = json.dumps({"data": base64.b64encode(b"x" * 3_000_000).decode()}).encode()
    body = b"".join(struct.pack(">BI", 0, len(one)) + one for one in (first, data))
    expect(is_reset(lambda: org.send("WriteFile", body, "application/connect+json")), "no reset")


@check
def streams_are_cut_where_they_should_be(org):
    sandbox = org.create()
    whole = ["started", "stdout", "finished"]
    same(org.run(sandbox, "echo hi"), (whole + ["end", "close"], b"hi\n"), "a whole one")
    for at, seen in (("started", 1), ("finished", 2), ("end", 3), (2, 2)):
        for how in ("close", "reset"):
            org.fault("RunCommand", "cut", at=at, how=how)
            same(org.run(sandbox, "echo hi")[0], whole[:seen] + [how], f"cut at {at} by {how}")
    org.fault("RunCommand", "cut", at="finished", how="close", bytes=7)
    same(org.run(sandbox, "echo hi")[0], whole[:2] + ["part of 7", "close"], "cut within a message")
    org.fault("RunCommand", "noise")
    same(org.run(sandbox, "echo hi")[0], ["started", "error", "evicted", "stdout", "finished", "end", "close"], "noise")
    # A stream that fails before its first message is an error in the end of the stream, with status 200.
    same(org.run("sb-nothing", "true")[0], ["error: not_found", "close"], "not found")


@check
def a_cut_stream_leaves_its_command_alone(org):
    sandbox = org.create()
    org.fault("RunCommand", "cut", at="started", how="reset")
    org.run(sandbox, "sleep 0.3; echo done >/work/done")
    for _ in range(500):
        if org.run(sandbox, "cat /work/done")[1] == b"done\n":
            return
        time.sleep(0.02)
    raise AssertionError("the command ended with its reader")


@check
def slow_and_hanging_calls_take_their_time(org):
    began = time.monotonic()
    org.fault("ListSandboxes", "slow", seconds=0.2)
    org.ok("ListSandboxes")
    expect(time.monotonic() - began >= 0.2, "it was not slow")
    org.control(sandboxes=[{"name": "x" * 40}])
    org.fault("ListSandboxes", "slow", seconds=0, chunk=10, pause=0.02)
    began = time.monotonic()
    same(len(org.ok("ListSandboxes")["sandboxes"]), 1, "sandboxes of a slow answer")
    expect(time.monotonic() - began >= 0.2, "the body was not slow")
    org.fault("ListSandboxes", "hang")
    try:
        org.send("ListSandboxes", "{}", timeout=0.3)
    except TimeoutError:
        return
    raise AssertionError("it did not hang")


@check
def sandboxes_are_made_twice_vanish_expire_and_fail(org):
    org.fault("CreateSandbox", "duplicate")
    org.create(name="twin")
    same(org.living(), 2, "twins")
    for fault, code in (("expire", "failed_precondition"), ("fail", "failed_precondition"), ("vanish", "not_found")):
        sandbox = org.create()
        org.fault("SetSandboxTimeout", fault)
        org.fails(code, "SetSandboxTimeout", sandbox={"id": sandbox}, timeoutMinutes=5)
        if fault == "vanish":
            org.fails("not_found", "GetSandbox", id=sandbox)
            expect(sandbox not in org.listed(), "it is still listed")
        else:
            wanted = {"expire": "SANDBOX_STATUS_CANCELLED", "fail": "SANDBOX_STATUS_FAILED"}[fault]
            same(org.until(sandbox, wanted), wanted, fault)
        same(org.run(sandbox, "true")[0], [f"error: {code}", "close"], f"a command after {fault}")


@check
def a_sandbox_that_ends_takes_its_commands_with_it(org):
    sandbox = org.create()
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(org.run(sandbox, "echo here; sleep 60")[0]))
    reader.start()
    while not any(line["sandbox"] == sandbox for line in org.peer.journal("command")):
        time.sleep(0.01)
    org.control(act=[{"sandbox": sandbox, "do": "fail"}])
    reader.join()
    same(seen[-2:], ["error: aborted", "close"], "the stream")


@check
def lists_lag_and_page_and_never_end(org):
    org.settings(list_lag_calls=2)
    sandbox = org.create()
    same([sandbox in org.listed() for _ in range(4)], [False, False, True, True], "two lists without it")
    org.settings(list_lag_calls=0, list_lag_seconds=0.3)
    sandbox = org.create()
    expect(sandbox not in org.listed(), "it is there at once")
    time.sleep(0.35)
    expect(sandbox in org.listed(), "it is missing for ever")
    org.settings(list_lag_seconds=0, page_size=2)
    org.control(sandboxes=[{"name": str(number), "age": number} for number in range(5)])
    page = org.ok("ListSandboxes")
    same(len(page["sandboxes"]), 2, "the first page")
    same(len(org.listed()), 7, "all pages")
    org.settings(list_loop=True)
    expect(all("nextPageToken" in org.ok("ListSandboxes", **more) for more in ({}, {"pageSize": 100})), "a last page")


@check
def an_incomplete_list_says_so(org):
    org.settings(page_size=1)
    org.control(sandboxes=[{}, {}, {}])
    org.fault("ListSandboxes", "status", nth=2)
    token = org.ok("ListSandboxes")["nextPageToken"]
    same(org.unary("ListSandboxes", pageToken=token)[0], 503, "the second page")
    same(len(org.ok("ListSandboxes", pageToken=token)["sandboxes"]), 1, "the second page, again")


@check
def newer_servers_and_wrong_clocks(org):
    org.settings(unknown_fields=True, skew=3600)
    sandbox = org.create(env={"A": "1"})
    told = org.ok("GetSandbox", id=sandbox)
    expect("somethingNew" in told and "somethingNew" in told["sandbox"], f"nothing new: {told}")
    same(told["sandbox"]["env"], {"A": "1"}, "env")
    created = time.strptime(told["sandbox"]["createdAt"][:19], "%Y-%m-%dT%H:%M:%S")
    ahead = (time.mktime(created) - time.timezone) - time.time()
    expect(3500 < ahead < 3700, f"the clock is ahead by {ahead} s")
    org.control(act=[{"sandbox": sandbox, "do": "status", "value": 42}])
    same(org.ok("GetSandbox", id=sandbox)["sandbox"]["status"], 42, "a status of the future")


@check
def older_servers_and_other_servers(org):
    org.settings(missing=["SetSandboxTimeout"])
    same(org.unary("SetSandboxTimeout"), (404, None), "a method that is missing")
    same(org.unary("GetCommand"), (404, None), "a method that we do not know")
    org.fails("unimplemented", "SnapshotSandbox", sandbox={"id": "x"})
    org.settings(mode="html")
    answer = org.send("ListSandboxes", "{}")
    expect(answer.status == 200 and answer.headers["content-type"].startswith("text/html"), "no HTML")
    org.settings(mode="unauthenticated")
    same(org.unary("ListSandboxes")[0], 401, "status")
    same(org.run("x", "true")[0], ["error: unauthenticated", "close"], "a stream")
    org.settings(mode="permission_denied")
    same(org.unary("ListSandboxes")[0], 403, "status")
    org.settings(mode="normal", token="secret")
    org.fails("unauthenticated", "ListSandboxes")
    same(org.send("ListSandboxes", "{}", headers={"authorization": "Bearer secret"}).status, 200, "with the token")


@check
def organisations_do_not_see_each_other(org):
    other = Org(org.peer, org.name + "-other")
    sandbox = org.create()
    other.fails("not_found", "GetSandbox", id=sandbox)
    other.fails("not_found", "KillSandbox", sandbox={"id": sandbox})
    same(other.listed(), [], "what the other one sees")
    other.fault("*", "status", times=0)
    same((other.unary("ListSandboxes")[0], org.unary("ListSandboxes")[0]), (503, 200), "faults of one")


@check
def a_schedule_is_the_same_for_the_same_seed(org):
    def play():
        org.control(clear=True, schedule={"seed": 7, "rate": 0.4, "methods": ["ListSandboxes"]})
        before = len(org.peer.journal("call"))
        for _ in range(40):
            is_reset(lambda: org.unary("ListSandboxes"))
        return [(line.get("rule") or {}).get("name") for line in org.peer.journal("call")[before:]]

    first = play()
    expect(5 < sum(name is not None for name in first) < 30, f"faults: {first}")
    same(play(), first, "the second time")


@check
def a_killed_server_goes_on_where_it_was(org):
    sandbox = org.create(env={"A": "1"})
    org.run(sandbox, "setsid sh -c 'sleep 0.5; echo done >/work/late' >/dev/null 2>&1 </dev/null & echo x >/work/early")
    org.fault("ListSandboxes", "status", nth=3)
    org.ok("ListSandboxes")
    org.peer.kill()
    org.peer.start()
    same(org.run(sandbox, "cat /work/early; echo $A")[1], b"x\n1\n", "a command in it")
    same([org.unary("ListSandboxes")[0] for _ in range(3)], [200, 503, 200], "a rule that was half counted")
    for _ in range(500):
        if org.run(sandbox, "cat /work/late")[1] == b"done\n":
            return
        time.sleep(0.02)
    raise AssertionError("what ran in it is gone")


@check
def a_server_dies_where_it_is_told_to(org):
    org.fault("CreateSandbox", "die", when="before")
    expect(is_reset(lambda: org.unary("CreateSandbox", name="never")), "it lives")
    org.peer.wait()
    org.peer.start()
    same(org.living(), 0, "sandboxes")
    org.fault("CreateSandbox", "die", when="after")
    expect(is_reset(lambda: org.unary("CreateSandbox", name="made")), "it lives")
    org.peer.wait()
    org.peer.start()
    found = org.listed()
    same(len(found), 1, "sandboxes")
    org.until(found[0], RUNNING)
    same(org.run(found[0], "echo hi")[1], b"hi\n", "a command in what was half made")
    org.fault("KillSandbox", "die", when="after")
    expect(is_reset(lambda: org.unary("KillSandbox", sandbox={"id": found[0]})), "it lives")
    org.peer.wait()
    org.peer.start()
    org.until(found[0], "SANDBOX_STATUS_CANCELLED")


@check
def killed_at_any_moment_it_neither_loses_nor_leaks_a_sandbox(org):
    for number in range(12):
        is_over = threading.Event()

        def work():
            while not is_over.is_set():
                try:
                    name = org.ok("CreateSandbox")["sandbox"]["sandboxId"]
                    if time.monotonic_ns() % 2:
                        org.ok("KillSandbox", sandbox={"id": name})
                except (OSError, http.client.HTTPException):
                    time.sleep(0.005)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.005 * number)
        org.peer.kill()
        is_over.set()
        for thread in threads:
            thread.join()
        org.peer.start()
    end = time.monotonic() + 30
    while True:
        report = org.control()
        states = {sandbox["status"] for sandbox in report["sandboxes"]}
        expect(7 not in states, f"failed: {[one['error'] for one in report['sandboxes'] if one['status'] == 7]}")
        # Two processes of bubblewrap for each, and nothing for what is over.
        found = processes_of(os.path.join(org.peer.state, "sandboxes"))
        if states <= {4, 6} and len(found) == 2 * org.control(org="*")["processes"]:
            return
        expect(time.monotonic() < end, f"{report['living']} sandboxes, {len(found)} processes, states {states}")
        time.sleep(0.02)


@check
def minutes_are_as_long_as_they_are_told(org):
    org.settings(minute=0.2)
    sandbox = org.create(timeoutMinutes=2)
    org.ok("SetSandboxTimeout", sandbox={"id": sandbox}, timeoutMinutes=4)
    org.until(sandbox, "SANDBOX_STATUS_CANCELLED")
    org.fails("failed_precondition", "SetSandboxTimeout", sandbox={"id": sandbox}, timeoutMinutes=4)
    org.fails("invalid_argument", "CreateSandbox", timeoutMinutes=1441)


@check
def everything_that_happened_is_in_the_journal(org):
    sandbox = org.create(name="told", env={"K": "v"})
    org.fault("RunCommand", "cut", at="end")
    org.run(sandbox, "true", env={"E": "1"}, sudo=True)
    org.ok("KillSandbox", sandbox={"id": sandbox})
    org.until(sandbox, "SANDBOX_STATUS_CANCELLED")
    lines = [line for line in org.peer.journal("created", "command", "kill", "ended") if line["sandbox"] == sandbox]
    same([line["event"] for line in lines], ["created", "command", "kill", "ended"], "events")
    same((lines[0]["name"], lines[0]["env"]), ("told", {"K": "v"}), "created")
    same((lines[1]["argv"], lines[1]["env"], lines[1]["sudo"]), (["/bin/sh", "-c", "true"], {"E": "1"}, True), "command")
    answers = [line for line in org.peer.journal("answer") if line.get("sandbox") == sandbox and line.get("fault")]
    same([(line["method"], line["outcome"]) for line in answers], [("RunCommand", "reset by fault")], "answers")


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


def main(only):
    state = tempfile.mkdtemp(prefix="snapwf-peer-")
    counts = {"passed": 0, "failed": 0}
    peer = Peer(state)
    for number, body in enumerate(CHECKS):
        if only and only not in body.__name__:
            continue
        told = {"check": body.__name__.replace("_", " "), "ok": True}
        try:
            body(Org(peer, f"org-{number}"))
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if frame.filename == __file__]
            told |= {"ok": False, "error": f"{type(error).__name__}: {error}", "lines": lines}
        counts["passed" if told["ok"] else "failed"] += 1
        print(json.dumps(told), flush=True)
        if not told["ok"]:
            print(json.dumps(told), file=sys.stderr)
    # The end of the lifeline ends the server and every sandbox.
    expect(processes_of(state), "no sandbox is left to be ended")
    os.close(peer.write_end)
    peer.wait()
    left = processes_of(state)
    shutil.rmtree(state)
    ok = counts["failed"] == 0 and not left
    print(json.dumps(counts | {"left": left, "ok": ok}))
    return 0 if ok and counts["passed"] else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The peer's faults, seen from outside.")
    parser.add_argument("--only", help="a part of a check's name, with underscores")
    sys.exit(main(parser.parse_args().only))
