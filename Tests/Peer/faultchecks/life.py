"""Servers that die, time, and what is on record."""

import http.client
import os
import threading
import time

from .session import RUNNING, check, expect, is_reset, processes_of, same


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

        def work(is_over=is_over):
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
    same((lines[1]["argv"][2], lines[1]["env"], lines[1]["sudo"]), ("true", {"E": "1"}, True), "command")
    answers = [line for line in org.peer.journal("answer") if line.get("sandbox") == sandbox and line.get("fault")]
    same([(line["method"], line["outcome"]) for line in answers], [("RunCommand", "reset by fault")], "answers")
