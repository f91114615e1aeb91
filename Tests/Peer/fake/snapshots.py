"""Snapshots: copies of a sandbox's files that a later one starts from."""

import asyncio
import hashlib
import os
import secrets
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass

from .journal import SmallFiles

CAPTURING, READY, FAILED = 1, 2, 3


@dataclass
class Snapshot:
    id: str
    org: str
    source: str
    created: float
    name: str | None = None
    status: int = CAPTURING
    size: int | None = None
    error: str | None = None

    @property
    def image(self):
        return f"registry.invalid/{self.org}/snapshots@sha256:{hashlib.sha256(self.id.encode()).hexdigest()}"


class Snapshots:
    def __init__(self, directory, sandboxes, journal):
        self.directory = os.path.join(directory, "snapshots")
        self.files = SmallFiles(self.directory)
        self.sandboxes = sandboxes
        self.journal = journal
        self.all = {name: Snapshot(**record) for name, record in self.files.all().items()}

    def resume(self):
        """A capture that was under way when the server ended is lost with it."""
        for snapshot in self.all.values():
            if snapshot.status == CAPTURING:
                self._settle(snapshot, FAILED, "the server was restarted")

    def root(self, snapshot):
        return os.path.join(self.directory, snapshot.id + ".root")

    def capture(self, sandbox, name, seconds):
        snapshot = Snapshot(f"snap-{secrets.token_hex(8)}", sandbox.org, sandbox.id, time.time(), name)
        self.all[snapshot.id] = snapshot
        self.files.write(snapshot.id, asdict(snapshot))
        self.journal.write("captured", snapshot=snapshot.id, sandbox=sandbox.id, org=sandbox.org, name=name)
        self.sandboxes.spawn(self._capture(snapshot, sandbox, seconds))
        return snapshot

    async def _capture(self, snapshot, sandbox, seconds):
        await asyncio.sleep(seconds)
        try:
            if sandbox.real:
                snapshot.size = await asyncio.to_thread(self._copy, snapshot, sandbox)
            self._settle(snapshot, READY)
        except subprocess.CalledProcessError as error:
            self._settle(snapshot, FAILED, str(error))

    def _copy(self, snapshot, sandbox):
        command = ["cp", "-a", "--reflink=auto", self.sandboxes.root(sandbox), self.root(snapshot)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        used = subprocess.run(["du", "-sb", self.root(snapshot)], check=True, capture_output=True, text=True)
        return int(used.stdout.split()[0])

    def _settle(self, snapshot, status, error=None):
        snapshot.status, snapshot.error = status, error
        if snapshot.id in self.all:
            self.files.write(snapshot.id, asdict(snapshot))

    def find(self, org, name):
        snapshot = self.all.get(name)
        return snapshot if snapshot is not None and snapshot.org == org else None

    def of(self, org, source):
        found = [
            snapshot for snapshot in self.all.values() if snapshot.org == org and source in (None, snapshot.source)
        ]
        return sorted(found, key=lambda snapshot: (snapshot.created, snapshot.id), reverse=True)

    def delete(self, snapshot):
        self.all.pop(snapshot.id, None)
        self.files.remove(snapshot.id)
        self.journal.write("deleted", snapshot=snapshot.id, org=snapshot.org)
        shutil.rmtree(self.root(snapshot), ignore_errors=True)
