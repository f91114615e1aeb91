"""Sandboxes and lists that are not what they seem, and other servers."""

import time

from .session import Org, check, expect, is_reset, same


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
