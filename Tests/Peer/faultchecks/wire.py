"""Answers, connections and streams that break."""

import base64
import json
import struct
import threading
import time

from .session import check, expect, is_reset, same


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
