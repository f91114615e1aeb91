"""depot.sandbox.v1.SandboxService: sandboxes, commands and snapshots. The file calls are in fileservice.py."""

import asyncio
import base64
import functools
import os
import secrets
import time

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from depot.sandbox.v1 import command_pb, sandbox_pb, snapshot_pb
from protobuf import Oneof
from protobuf.wkt import Timestamp

from . import calls, commands, isolation
from .codecs import odd
from .sandboxes import CANCELLED, FINISHED, RUNNING

Event = command_pb.SandboxCommandExecutionEvent


def unary(body):
    """A call: admitted, then carried out to its end, even if the client goes away in the middle."""

    @functools.wraps(body)
    async def handler(self, request, ctx):
        call = calls.current()
        try:
            self.admit(call, ctx.request_headers)
            answer = await asyncio.shield(self.sandboxes.spawn(body(self, request, call)))
        except ConnectError as error:
            call.outcome = error.code.value
            raise
        call.outcome = "ok"
        return answer

    return handler


def stream(body):
    """A call whose answer or request is a stream: it ends with the client."""

    @functools.wraps(body)
    async def handler(self, request, ctx):
        call = calls.current()
        call.outcome = "abandoned"
        try:
            self.admit(call, ctx.request_headers)
            async for message in body(self, request, call):
                yield message
        except ConnectError as error:
            call.outcome = error.code.value
            raise
        call.outcome = "ok"

    return handler


class Base:
    """Who may call, what a call is about, and how it looks from outside."""

    def __init__(self, sandboxes, snapshots, control, journal, token, org):
        self.sandboxes = sandboxes
        self.snapshots = snapshots
        self.control = control
        self.journal = journal
        self.token = token
        self.org = org

    def admit(self, call, headers):
        token = call.settings["token"] or self.token
        mode = call.settings["mode"]
        if mode == "unauthenticated" or (token is not None and headers.get("authorization") != f"Bearer {token}"):
            raise ConnectError(Code.UNAUTHENTICATED, "invalid token")
        if mode == "permission_denied" or (self.org is not None and headers.get("x-depot-org") != self.org):
            raise ConnectError(Code.PERMISSION_DENIED, "no permission in this organization")

    def sandbox(self, call, reference):
        name = selected(reference, "sandbox")
        call.sandbox = name
        found = self.sandboxes.find(call.org, name)
        if found is not None and call.fault in ("vanish", "expire", "fail"):
            self.control.act(found, call.fault)
            found = self.sandboxes.find(call.org, name)
        if found is None:
            raise ConnectError(Code.NOT_FOUND, f"sandbox {name} not found")
        return found

    def running(self, call, reference):
        found = self.sandbox(call, reference)
        if found.status != RUNNING:
            raise ConnectError(Code.FAILED_PRECONDITION, f"sandbox {found.id} is not running")
        return found

    def described(self, sandbox, call):
        def at(seconds):
            return None if seconds is None else timestamp(seconds + call.settings["skew"])

        runtime = None
        if sandbox.snapshot is not None:
            reference = sandbox_pb.SnapshotRef(selector=Oneof("id", sandbox.snapshot.rpartition("/")[2][:-5]))
            runtime = sandbox_pb.Runtime(runtime=Oneof("snapshot", reference))
        elif sandbox.image is not None:
            runtime = sandbox_pb.Runtime(runtime=Oneof("image_ref", sandbox.image))
        found = sandbox_pb.Sandbox(
            sandbox_id=sandbox.id,
            organization_id=sandbox.org,
            status=sandbox_pb.SandboxStatus(sandbox.status),
            created_at=at(sandbox.created),
            started_at=at(sandbox.started),
            stopped_at=at(sandbox.stopped),
            expires_at=at(sandbox.expires),
            resources=sandbox_pb.Resources(**sandbox.resources),
            runtime=runtime,
            exit_code=sandbox.exit_code,
            error_message=sandbox.error,
            env=dict(sandbox.env),
            name=sandbox.name,
        )
        return odd(found)


class Service(Base):
    @unary
    async def create_sandbox(self, request, call):
        minutes = request.timeout_minutes if request.has_field("timeout_minutes") else 120
        if not 1 <= minutes <= call.settings["max_minutes"]:
            raise ConnectError(Code.INVALID_ARGUMENT, f"timeout_minutes must be 1 to {call.settings['max_minutes']}")
        name = request.name if request.has_field("name") else None
        same = [one for one in self.sandboxes.of(call.org) if one.name == name and not one.is_terminal]
        if call.settings["unique_names"] and name is not None and same:
            raise ConnectError(Code.ALREADY_EXISTS, f"a sandbox {name} exists")
        given = {"name": name, "env": dict(request.env), "resources": resources(request.resources)}
        given |= self._runtime(request.runtime, call)
        sandbox = self.sandboxes.create(call.org, minutes, call.settings, **given)
        if call.is_hit("duplicate"):
            sandbox = self.sandboxes.create(call.org, minutes, call.settings, **given)
        call.sandbox = sandbox.id
        return sandbox_pb.CreateSandboxResponse(sandbox=self.described(sandbox, call))

    def _runtime(self, runtime, call):
        match runtime.runtime if runtime is not None else None:
            case None:
                return {}
            case Oneof(field="image_ref", value=image) if image:
                return {"image": image}
            case Oneof(field="snapshot", value=reference) if call.settings["snapshots"]:
                snapshot = self.snapshots.find(call.org, selected(reference, "snapshot"))
                if snapshot is None:
                    raise ConnectError(Code.NOT_FOUND, "snapshot not found")
                if snapshot.status != snapshot_pb.SnapshotStatus.READY:
                    raise ConnectError(Code.FAILED_PRECONDITION, f"snapshot {snapshot.id} is not ready")
                return {"snapshot": self.snapshots.root(snapshot)}
        raise ConnectError(Code.INVALID_ARGUMENT, "this runtime is not supported")

    @unary
    async def get_sandbox(self, request, call):
        return sandbox_pb.GetSandboxResponse(sandbox=self.described(self.sandbox(call, request), call))

    @unary
    async def list_sandboxes(self, request, call):
        settings = call.settings
        before = page_start(request)
        now = time.time()
        visible = []
        for sandbox in self.sandboxes.of(call.org):
            if sandbox.hidden_calls > 0 or sandbox.hidden_until > now:
                sandbox.hidden_calls -= 1 if before is None and sandbox.hidden_calls > 0 else 0
            elif matches(sandbox, request.filter, settings["skew"]) and (before is None or sandbox.order < before):
                visible.append(sandbox)
        page = visible[: page_size(request, settings["page_size"])]
        following = None
        if len(page) < len(visible) or settings["list_loop"]:
            following = page_token(page[-1].order if page else before or time.time_ns())
        return sandbox_pb.ListSandboxesResponse(
            sandboxes=[self.described(sandbox, call) for sandbox in page], next_page_token=following
        )

    @unary
    async def stop_sandbox(self, request, call):
        sandbox = self._not_terminal(call, request.sandbox)
        self.sandboxes.end_later(sandbox, call.settings["kill_seconds"], FINISHED)
        while request.blocking and not sandbox.is_terminal:
            await asyncio.sleep(0.01)
        return sandbox_pb.StopSandboxResponse(sandbox=self.described(sandbox, call))

    @unary
    async def kill_sandbox(self, request, call):
        sandbox = self._not_terminal(call, request.sandbox)
        self.journal.write("kill", sandbox=sandbox.id, org=sandbox.org)
        self.sandboxes.end_later(sandbox, call.settings["kill_seconds"], CANCELLED)
        return sandbox_pb.KillSandboxResponse(sandbox=self.described(sandbox, call))

    def _not_terminal(self, call, reference):
        sandbox = self.sandbox(call, reference)
        if sandbox.is_terminal:
            raise ConnectError(Code.FAILED_PRECONDITION, f"sandbox {sandbox.id} has ended")
        return sandbox

    @unary
    async def set_sandbox_timeout(self, request, call):
        sandbox = self.running(call, request.sandbox)
        if request.timeout_minutes < 1:
            raise ConnectError(Code.INVALID_ARGUMENT, "timeout_minutes must be at least 1")
        minutes = min(request.timeout_minutes, call.settings["max_minutes"])
        sandbox.expires = time.time() + minutes * call.settings["minute"]
        self.sandboxes.save(sandbox)
        self.journal.write("timeout", sandbox=sandbox.id, org=sandbox.org, minutes=minutes)
        return sandbox_pb.SetSandboxTimeoutResponse(sandbox=self.described(sandbox, call))

    @stream
    async def run_command(self, request, call):
        sandbox = self.running(call, request.sandbox)
        if not request.cmd:
            raise ConnectError(Code.INVALID_ARGUMENT, "cmd is empty")
        environment = dict(sandbox.env) | dict(request.env)
        directory = request.cwd if request.has_field("cwd") else None
        if directory is not None and not await self._is_directory(sandbox, directory):
            raise ConnectError(Code.INVALID_ARGUMENT, f"cwd {directory} is no directory")
        command_id = f"cmd-{secrets.token_hex(8)}"
        argv = [request.cmd, *request.args]
        self.journal.write(
            "command",
            sandbox=sandbox.id,
            org=sandbox.org,
            id=command_id,
            argv=argv,
            env=dict(request.env),
            sudo=request.sudo or None,
            detached=request.detached or None,
        )
        command = await commands.start(
            self.sandboxes, sandbox, argv, directory, environment, request.sudo, request.detached
        )
        exited = request.detached
        try:
            started = Event.Started(cmd_id=command_id, started_at=self._now(call))
            yield Event(event=Oneof("started", odd(started)))
            if call.is_hit("noise"):
                yield Event(event=Oneof("error", Event.Error(reason="log storage is slow")))
                yield Event(event=Oneof("evicted", Event.Evicted(dropped_bytes_stdout=0, dropped_bytes_stderr=0)))
            if request.detached:
                return
            async for kind, value, offset in command.events():
                if kind != "exit":
                    output = Event.Output(data=value, byte_offset=offset, timestamp=self._now(call))
                    yield Event(event=Oneof(kind, output))
                    continue
                exited = True
                if sandbox.is_terminal:
                    raise ConnectError(Code.ABORTED, f"sandbox {sandbox.id} ended with the command in it")
                call.finishing = True
                yield Event(event=Oneof("finished", Event.Finished(exit_code=value, finished_at=self._now(call))))
        finally:
            if not exited:
                command.leave(call.settings["disconnect_kills"])

    def _now(self, call):
        return timestamp(time.time() + call.settings["skew"])

    async def _is_directory(self, sandbox, path):
        try:
            return not sandbox.real or await isolation.inside(sandbox.pid, True, lambda: os.path.isdir(path))
        except isolation.ProcessGone:
            raise ConnectError(Code.FAILED_PRECONDITION, f"sandbox {sandbox.id} is not running") from None

    @unary
    async def snapshot_sandbox(self, request, call):
        self._require_snapshots(call)
        sandbox = self.running(call, request.sandbox)
        name = request.name if request.has_field("name") else None
        snapshot = self.snapshots.capture(sandbox, name, call.settings["capture_seconds"])
        return snapshot_pb.SnapshotSandboxResponse(snapshot=self._told(snapshot, call))

    @unary
    async def get_snapshot(self, request, call):
        return snapshot_pb.GetSnapshotResponse(snapshot=self._told(self._snapshot(request, call), call))

    @unary
    async def list_snapshots(self, request, call):
        self._require_snapshots(call)
        source = request.filter.source_sandbox if request.filter is not None else None
        found = self.snapshots.of(call.org, None if source is None else selected(source, "sandbox"))
        before = page_start(request)
        found = [one for one in found if before is None or time_order(one.created) < before]
        page = found[: page_size(request, call.settings["page_size"])]
        following = page_token(time_order(page[-1].created)) if len(page) < len(found) else None
        return snapshot_pb.ListSnapshotsResponse(
            snapshots=[self._told(one, call) for one in page], next_page_token=following
        )

    @unary
    async def delete_snapshot(self, request, call):
        self.snapshots.delete(self._snapshot(request.snapshot, call))
        return snapshot_pb.DeleteSnapshotResponse()

    def _require_snapshots(self, call):
        if not call.settings["snapshots"]:
            raise ConnectError(Code.UNIMPLEMENTED, "snapshots are not available")

    def _snapshot(self, reference, call):
        self._require_snapshots(call)
        name = selected(reference, "snapshot")
        found = self.snapshots.find(call.org, name)
        if found is None:
            raise ConnectError(Code.NOT_FOUND, f"snapshot {name} not found")
        return found

    def _told(self, snapshot, call):
        is_ready = snapshot.status == snapshot_pb.SnapshotStatus.READY
        return odd(
            snapshot_pb.Snapshot(
                snapshot_id=snapshot.id,
                organization_id=snapshot.org,
                source_sandbox_id=snapshot.source,
                status=snapshot_pb.SnapshotStatus(snapshot.status),
                name=snapshot.name,
                image_ref=snapshot.image if is_ready else None,
                size_bytes=snapshot.size,
                created_at=timestamp(snapshot.created + call.settings["skew"]),
                error_message=snapshot.error,
            )
        )


def timestamp(seconds):
    return Timestamp.from_nanos(int(seconds * 1e9))


def time_order(seconds):
    return int(seconds * 1e9)


def selected(reference, what):
    selector = reference.selector if reference is not None else None
    if selector is None or not selector.value:
        raise ConnectError(Code.INVALID_ARGUMENT, f"no {what} is named")
    return selector.value


def resources(given):
    names = ("vcpus", "memory_mb", "disk_gb")
    return {} if given is None else {name: getattr(given, name) for name in names if given.has_field(name)}


def matches(sandbox, asked, skew):
    if asked is None:
        return True
    created = time_order(sandbox.created + skew)
    if asked.states and sandbox.status not in [int(state) for state in asked.states]:
        return False
    if asked.created_after is not None and created <= asked.created_after.to_nanos():
        return False
    return asked.created_before is None or created < asked.created_before.to_nanos()


def page_size(request, most):
    size = request.page_size if request.has_field("page_size") else most
    if size < 1:
        raise ConnectError(Code.INVALID_ARGUMENT, "page_size must be at least 1")
    return min(size, most)


def page_token(order):
    return base64.urlsafe_b64encode(f"before {order}".encode()).decode()


def page_start(request):
    if not request.page_token:
        return None
    try:
        word, order = base64.urlsafe_b64decode(request.page_token).decode().split(" ")
        if word != "before":
            raise ValueError(word)
        return int(order)
    except ValueError:
        raise ConnectError(Code.INVALID_ARGUMENT, "page_token is none of ours") from None
