"""Sandboxes and snapshots."""

import asyncio
import os
import time

from connectrpc.code import Code
from depot.sandbox.v1 import sandbox_pb, snapshot_pb
from protobuf import Oneof
from protobuf.wkt import Timestamp

from .session import Status, check, expect, ref, same


@check
async def create_shows_what_was_asked(session):
    sandbox = await session.create(
        env={"CHECK_A": "1", "CHECK_B": "ä =\n\"'"}, timeout_minutes=7, resources=sandbox_pb.Resources(vcpus=1)
    )
    expect(sandbox.sandbox_id, "no id")
    same(sandbox.env, {"CHECK_A": "1", "CHECK_B": "ä =\n\"'"}, "env")
    expect(sandbox.name, "no name")
    expect(sandbox.created_at is not None, "no created_at")
    found = await session.until(sandbox.sandbox_id, [Status.RUNNING])
    same(found.env, sandbox.env, "env of Get")
    same(found.created_at, sandbox.created_at, "created_at of Get")
    expect(found.expires_at is not None, "no expires_at")
    left = found.expires_at.to_seconds() - found.created_at.to_seconds()
    expect(left > 0, f"it expires {left} s after it was made")


@check
async def list_shows_it_newest_first_and_in_pages(session):
    older = await session.create()
    newer = await session.create()
    seen, token, pages = [], None, 0
    while True:
        request = sandbox_pb.ListSandboxesRequest(page_size=1, page_token=token)
        page = await session.call("list_sandboxes", request)
        expect(len(page.sandboxes) <= 1, "a page is longer than page_size")
        seen += [sandbox.sandbox_id for sandbox in page.sandboxes]
        pages += 1
        expect(pages < 10_000, "pages without end")
        token = page.next_page_token
        if not token:
            break
    same(len(seen), len(set(seen)), "sandboxes in all pages")
    expect(newer.sandbox_id in seen and older.sandbox_id in seen, "one is missing")
    expect(seen.index(newer.sandbox_id) < seen.index(older.sandbox_id), "not newest first")


@check
async def list_filters_by_state_and_time(session):
    sandbox = await session.running()
    Filter = sandbox_pb.ListSandboxesRequest.Filter

    async def listed(**given):
        found, token = [], None
        while True:
            request = sandbox_pb.ListSandboxesRequest(filter=Filter(**given), page_token=token)
            page = await session.call("list_sandboxes", request)
            found += [one.sandbox_id for one in page.sandboxes]
            token = page.next_page_token
            if not token:
                return sandbox.sandbox_id in found

    created = sandbox.created_at.to_seconds()
    before, after = Timestamp.from_seconds(int(created) - 5), Timestamp.from_seconds(int(created) + 5)
    expect(await listed(states=[Status.RUNNING]), "not among the running")
    expect(not await listed(states=[Status.FAILED, Status.CANCELLED]), "among the dead")
    expect(await listed(created_after=before), "not among those made after before")
    expect(not await listed(created_after=after), "made after after")
    expect(await listed(created_before=after, created_after=before), "not in between")


@check
async def a_page_token_of_nobody_is_refused(session):
    request = sandbox_pb.ListSandboxesRequest(page_token="none of yours")
    await session.fails(Code.INVALID_ARGUMENT, session.call("list_sandboxes", request))


@check
async def what_is_not_there_is_not_found(session):
    await session.fails(Code.NOT_FOUND, session.get("sb-0000000000000000"))
    request = sandbox_pb.KillSandboxRequest(sandbox=ref("sb-0000000000000000"))
    await session.fails(Code.NOT_FOUND, session.call("kill_sandbox", request))


@check
async def no_sandbox_named_is_an_invalid_argument(session):
    await session.fails(Code.INVALID_ARGUMENT, session.call("get_sandbox", sandbox_pb.SandboxRef()))


@check
async def a_named_runtime_is_refused(session):
    runtime = sandbox_pb.Runtime(runtime=Oneof("named", "ubuntu"))
    await session.fails(Code.INVALID_ARGUMENT, session.create(runtime=runtime))


@check
async def the_timeout_moves_the_expiry(session):
    sandbox = await session.running(timeout_minutes=5)
    request = sandbox_pb.SetSandboxTimeoutRequest(sandbox=ref(sandbox.sandbox_id), timeout_minutes=60)
    later = (await session.call("set_sandbox_timeout", request)).sandbox
    expect(later.expires_at.to_nanos() > sandbox.expires_at.to_nanos(), "the expiry did not move")
    same((await session.get(sandbox.sandbox_id)).expires_at, later.expires_at, "expires_at of Get")


@check
async def kill_ends_it_and_a_second_kill_is_refused(session):
    sandbox = await session.running()
    name = sandbox.sandbox_id
    await session.call("kill_sandbox", sandbox_pb.KillSandboxRequest(sandbox=ref(name)))
    ended = await session.ended(name)
    expect(ended is None or ended.stopped_at is not None, "no stopped_at")
    kill = sandbox_pb.KillSandboxRequest(sandbox=ref(name))
    await session.fails(session.over, session.call("kill_sandbox", kill))
    stop = sandbox_pb.StopSandboxRequest(sandbox=ref(name))
    await session.fails(session.over, session.call("stop_sandbox", stop))
    timeout = sandbox_pb.SetSandboxTimeoutRequest(sandbox=ref(name), timeout_minutes=5)
    await session.fails(session.over, session.call("set_sandbox_timeout", timeout))


@check
async def stop_ends_it(session):
    sandbox = await session.running()
    request = sandbox_pb.StopSandboxRequest(sandbox=ref(sandbox.sandbox_id), blocking=True)
    await session.call("stop_sandbox", request)
    ended = await session.ended(sandbox.sandbox_id)
    expect(ended is None or ended.status != Status.FAILED, f"stopped, it is {ended}")


@check
async def a_snapshot_is_taken_listed_and_deleted(session):
    request = snapshot_pb.SnapshotSandboxRequest(sandbox=ref(session.id), name=f"client-{os.getpid()}")
    if not session.options.snapshots:
        await session.fails(Code.UNIMPLEMENTED, session.call("snapshot_sandbox", request))
        return
    snapshot = (await session.call("snapshot_sandbox", request)).snapshot
    same(snapshot.source_sandbox_id, session.id, "source")
    own = sandbox_pb.SnapshotRef(selector=Oneof("id", snapshot.snapshot_id))
    end = time.monotonic() + 120
    while snapshot.status != snapshot_pb.SnapshotStatus.READY:
        expect(snapshot.status != snapshot_pb.SnapshotStatus.FAILED, f"failed: {snapshot.error_message}")
        expect(time.monotonic() < end, "it is not ready after two minutes")
        await asyncio.sleep(0.05)
        snapshot = (await session.call("get_snapshot", own)).snapshot
    source = snapshot_pb.ListSnapshotsRequest.Filter(source_sandbox=ref(session.id))
    listed = await session.call("list_snapshots", snapshot_pb.ListSnapshotsRequest(filter=source))
    expect(snapshot.snapshot_id in [one.snapshot_id for one in listed.snapshots], "it is not listed")
    await session.call("delete_snapshot", snapshot_pb.DeleteSnapshotRequest(snapshot=own))
    await session.fails(Code.NOT_FOUND, session.call("get_snapshot", own))
