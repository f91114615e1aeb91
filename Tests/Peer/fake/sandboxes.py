"""Sandboxes and their lives. What is known of them is in files, so another process can go on with them."""

import asyncio
import functools
import os
import secrets
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass, field

from . import isolation
from .journal import SmallFiles

CREATED, ASSIGNED, STARTING, RUNNING, FINISHED, CANCELLED, FAILED = range(1, 8)
_TICK = 0.02


@dataclass
class Sandbox:
    """Times are seconds since 1970 by the machine's clock; what the API says of them may be off on purpose."""

    id: str
    org: str
    created: float
    expires: float
    # In nanoseconds, so that the order of creation is total.
    order: int
    name: str | None = None
    env: dict = field(default_factory=dict)
    resources: dict = field(default_factory=dict)
    image: str | None = None
    snapshot: str | None = None
    status: int = CREATED
    started: float | None = None
    stopped: float | None = None
    # When a kill that was accepted takes effect, and as what.
    ends: float | None = None
    ends_as: int = CANCELLED
    error: str | None = None
    exit_code: int | None = None
    # False: a record without processes.
    real: bool = True
    work: bool = True
    runs_after: float = 0
    # Lists that it is still missing from.
    hidden_calls: int = 0
    hidden_until: float = 0
    pid: int | None = None
    pid_start: int | None = None
    boot: str | None = None

    @property
    def is_terminal(self):
        return self.status in (FINISHED, CANCELLED, FAILED)


class Sandboxes:
    """All of them, of every organisation."""

    def __init__(self, directory, journal, lifeline):
        self.directory = os.path.join(directory, "sandboxes")
        self.files = SmallFiles(self.directory)
        self.journal = journal
        self.lifeline = lifeline
        self.boot_id = isolation.boot_id()
        self.all = {name: Sandbox(**record) for name, record in self.files.all().items()}
        self.by_org = {}
        for sandbox in self.all.values():
            self.by_org.setdefault(sandbox.org, {})[sandbox.id] = sandbox
        self.living = {name for name, sandbox in self.all.items() if not sandbox.is_terminal}
        self.booting = set()
        self.pidfds = {}
        self.children = {}
        self.tasks = set()
        self.commands = set()

    # What the calls use.

    def create(self, org, minutes, settings, **given):
        now = time.time()
        sandbox = Sandbox(
            id=f"sb-{secrets.token_hex(8)}",
            org=org,
            created=now,
            expires=now + minutes * settings["minute"],
            order=time.time_ns(),
            runs_after=now + settings["boot_seconds"],
            work=settings["work"],
            hidden_calls=settings["list_lag_calls"],
            hidden_until=now + settings["list_lag_seconds"],
            **given,
        )
        self.all[sandbox.id] = sandbox
        self.by_org.setdefault(org, {})[sandbox.id] = sandbox
        self.living.add(sandbox.id)
        self.save(sandbox)
        self.journal.write(
            "created", sandbox=sandbox.id, org=org, name=sandbox.name, env=sandbox.env, image=sandbox.image
        )
        self.spawn(self._provision(sandbox))
        return sandbox

    def find(self, org, name):
        """The sandbox as it is this moment, or None."""
        sandbox = self.all.get(name)
        if sandbox is None or (org is not None and sandbox.org != org):
            return None
        self._advance(sandbox, time.time())
        return sandbox

    def of(self, org):
        """Newest first."""
        now = time.time()
        chosen = list(self.all.values() if org is None else self.by_org.get(org, {}).values())
        for sandbox in chosen:
            self._advance(sandbox, now)
        return sorted(chosen, key=lambda sandbox: sandbox.order, reverse=True)

    def root(self, sandbox):
        return os.path.join(self.directory, sandbox.id + ".root")

    def save(self, sandbox):
        self.files.write(sandbox.id, asdict(sandbox))

    def end_later(self, sandbox, seconds, status):
        """The caller is told at once, and it happens in a moment; a restart in between does not forget it."""
        ends = time.time() + seconds
        if sandbox.ends is None or ends < sandbox.ends:
            sandbox.ends, sandbox.ends_as = ends, status
        self.save(sandbox)
        self._advance(sandbox, time.time())

    def end(self, sandbox, status, error=None):
        if sandbox.is_terminal:
            return
        sandbox.status, sandbox.error, sandbox.stopped, sandbox.ends = status, error, time.time(), None
        self.living.discard(sandbox.id)
        self.save(sandbox)
        self.journal.write("ended", sandbox=sandbox.id, org=sandbox.org, status=status, why=error)
        self._end_processes(sandbox)

    def vanish(self, sandbox):
        """Nobody remembers it."""
        self.end(sandbox, CANCELLED, "vanished")
        self.all.pop(sandbox.id, None)
        self.by_org[sandbox.org].pop(sandbox.id, None)
        self.files.remove(sandbox.id)

    def spawn(self, coroutine):
        """For what has to happen even if nobody waits for it any more."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # The life of a server.

    async def resume(self):
        """Takes up what another process left: living ones go on, half-made ones are made, others are found dead."""
        for name in list(self.living):
            sandbox = self.all[name]
            if not sandbox.real:
                continue
            if sandbox.pid is None:
                self.spawn(self._provision(sandbox))
            elif not self._hold(sandbox):
                self.end(sandbox, FAILED, "the sandbox's init is gone")
        self.spawn(self._tick())

    async def end_all(self):
        for name in list(self.living):
            self.end(self.all[name], CANCELLED, "shut down")
        await self.settle()

    async def settle(self):
        """Until nothing of an ended sandbox is left."""
        own = asyncio.current_task()
        for _ in range(500):
            if not self.pidfds and not [task for task in self.tasks if task is not own and task.get_name() != "tick"]:
                return
            await asyncio.sleep(0.01)

    async def _tick(self):
        asyncio.current_task().set_name("tick")
        while True:
            await asyncio.sleep(_TICK)
            now = time.time()
            for name in list(self.living):
                self._advance(self.all[name], now)

    def _advance(self, sandbox, now):
        if sandbox.is_terminal:
            return
        if sandbox.ends is not None and sandbox.ends <= now:
            self.end(sandbox, sandbox.ends_as)
        elif sandbox.expires <= now:
            self.end(sandbox, CANCELLED, "the sandbox's timeout")
        elif not sandbox.real and sandbox.status != RUNNING and sandbox.runs_after <= now:
            self._running(sandbox)

    def _running(self, sandbox):
        if sandbox.status == RUNNING or sandbox.is_terminal:
            return
        sandbox.status, sandbox.started = RUNNING, time.time()
        self.save(sandbox)

    async def _provision(self, sandbox):
        if not sandbox.real:
            return
        self.booting.add(sandbox.id)
        try:
            process = await asyncio.to_thread(self._boot, sandbox)
        except (OSError, isolation.ProcessGone, subprocess.SubprocessError) as error:
            self.booting.discard(sandbox.id)
            self.end(sandbox, FAILED, f"provisioning: {error}")
            self._end_processes(sandbox)
            return
        self.booting.discard(sandbox.id)
        self.children[sandbox.id] = process
        if not self._hold(sandbox):
            self._clean_later(sandbox)
            self.end(sandbox, FAILED, "the sandbox's init ended at once")
        elif sandbox.is_terminal:
            self._end_processes(sandbox)
        while sandbox.status < STARTING:
            sandbox.status += 1
            await asyncio.sleep(max(0, sandbox.runs_after - time.time()) / 2)
        self._running(sandbox)

    def _boot(self, sandbox):
        root = self.root(sandbox)
        if sandbox.snapshot is not None and not os.path.exists(root):
            subprocess.run(["cp", "-a", "--reflink=auto", sandbox.snapshot, root], check=True, stdin=subprocess.DEVNULL)
        isolation.make_root(root, sandbox.work)

        def record(pid, start):
            sandbox.pid, sandbox.pid_start, sandbox.boot = pid, start, self.boot_id
            # Not after it has ended and was forgotten.
            if sandbox.id in self.all:
                self.save(sandbox)

        return isolation.boot(root, self.lifeline, record)

    def _hold(self, sandbox):
        """A handle of its init that no other process can take the place of; false: it is gone."""
        if sandbox.boot != self.boot_id or isolation.start_time(sandbox.pid) != sandbox.pid_start:
            return False
        try:
            pidfd = os.pidfd_open(sandbox.pid)
        except ProcessLookupError:
            return False
        if isolation.start_time(sandbox.pid) != sandbox.pid_start:
            os.close(pidfd)
            return False
        self.pidfds[sandbox.id] = pidfd
        asyncio.get_running_loop().add_reader(pidfd, functools.partial(self._gone, sandbox))
        return True

    def _end_processes(self, sandbox):
        pidfd = self.pidfds.get(sandbox.id)
        if pidfd is not None:
            isolation.end(pidfd)
        elif sandbox.real and sandbox.id not in self.booting:
            self._clean_later(sandbox)

    def _gone(self, sandbox):
        pidfd = self.pidfds.pop(sandbox.id)
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        self.end(sandbox, FAILED, "the sandbox's init ended")
        self._clean_later(sandbox)

    def _clean_later(self, sandbox):
        self.spawn(asyncio.to_thread(self._clean, sandbox, self.children.pop(sandbox.id, None)))

    def _clean(self, sandbox, process):
        if process is not None:
            process.wait()
        shutil.rmtree(self.root(sandbox), ignore_errors=True)
