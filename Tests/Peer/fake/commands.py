"""A running command: its output as it comes, and its end."""

import asyncio
import os
import signal
import subprocess

from . import isolation

_CHUNK = 64 * 1024
# Chunks that may wait for the reader; the command waits then.
_QUEUE = 16


class Command:
    """`events()` gives ("stdout" | "stderr", bytes, offset at its end), and last ("exit", code, None).

    It does not end with its reader: what it still says is thrown away then.
    """

    def __init__(self, owner, process):
        self.process = process
        self.loop = asyncio.get_running_loop()
        self.queue = asyncio.Queue()
        self.offsets = {"stdout": 0, "stderr": 0}
        self.streams = {"stdout": process.stdout, "stderr": process.stderr}
        self.open = {name for name, stream in self.streams.items() if stream is not None}
        self.is_read = True
        self.owner = owner
        owner.add(self)
        self.pidfd = os.pidfd_open(process.pid)
        for name in self.open:
            os.set_blocking(self.streams[name].fileno(), False)
            self._listen(name)
        self.loop.add_reader(self.pidfd, self._ended)

    def _listen(self, name):
        self.loop.add_reader(self.streams[name].fileno(), self._readable, name)

    def _read(self, name):
        """False: nothing there now."""
        stream = self.streams[name]
        try:
            data = os.read(stream.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self.loop.remove_reader(stream.fileno())
            stream.close()
            self.open.discard(name)
            return False
        self.offsets[name] += len(data)
        if self.is_read:
            self.queue.put_nowait((name, data, self.offsets[name]))
        return True

    def _readable(self, name):
        self._read(name)
        if self.is_read and self.queue.qsize() >= _QUEUE:
            for waiting in self.open:
                self.loop.remove_reader(self.streams[waiting].fileno())

    def _ended(self):
        """The end is the process's, whoever else still holds its output open."""
        self.loop.remove_reader(self.pidfd)
        os.close(self.pidfd)
        code = self.process.wait()
        for name in list(self.open):
            while self._read(name):
                pass
        for name in list(self.open):
            self.loop.remove_reader(self.streams[name].fileno())
            self.streams[name].close()
        self.open.clear()
        self.owner.discard(self)
        self.queue.put_nowait(("exit", 128 - code if code < 0 else code, None))

    async def events(self):
        while True:
            event = await self.queue.get()
            if self.queue.qsize() < _QUEUE:
                for name in self.open:
                    self._listen(name)
            yield event
            if event[0] == "exit":
                return

    def leave(self, kill):
        """Nobody reads any more."""
        self.is_read = False
        for name in self.open:
            self._listen(name)
        if kill and self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)


async def start(sandboxes, sandbox, command, directory, environment, sudo, detached):
    if not sandbox.real:
        # A record has nothing to run in: everything succeeds and says nothing.
        process = subprocess.Popen(["/bin/true"], stdin=subprocess.DEVNULL, start_new_session=True)
    else:
        process = isolation.start_command(sandbox.pid, command, directory, environment, sudo, detached)
    return Command(sandboxes.commands, process)
