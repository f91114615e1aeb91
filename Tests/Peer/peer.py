"""A fake of Depot's Sandbox API: real processes in real directories, and every fault on demand.

    python Tests/Peer/peer.py --state DIR --listen 127.0.0.1:0

It prints one JSON line when it listens: {"ready": true, "url": ..., "unix": ..., "pid": ...}. It speaks HTTP/1.1 and
h2 (with TLS by ALPN, without by prior knowledge), protobuf and JSON, gzip and zstd.

What it knows is in DIR, so it can be killed and started again in the middle of anything: sandboxes and detached
commands live on; commands that somebody reads lose their reader. DIR/journal has a JSON line for everything, with
"event" one of: started, stopped; call, answer (number, method, org, sandbox, outcome; with "rule" and "fault" when one
was put in); created, ended, kill, timeout, command, wrote, captured, deleted, act (what really happened).

POST /_control changes its behaviour while it runs: see fake/control.py, and fake/faults.py for settings and faults.
Rules, settings and sandboxes belong to an organisation (the header x-depot-org), so that many tests can share a peer.

It needs root, bubblewrap and nsenter: commands run as user 1000 unless they ask for sudo.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "generated"))

from connectrpc.compression.gzip import GzipCompression
from connectrpc.compression.zstd import ZstdCompression
from depot.sandbox.v1.service_connect import SandboxService, SandboxServiceASGIApplication

from fake import isolation
from fake.calls import Call
from fake.codecs import JSON, Binary
from fake.control import Control
from fake.faults import Faults
from fake.fileservice import FileService
from fake.journal import Journal, SmallFiles
from fake.listener import PREFIX, Listener
from fake.sandboxes import Sandboxes
from fake.service import Service
from fake.snapshots import Snapshots


class Peer(Service, FileService, SandboxService):
    """Everything that is implemented; the rest answers unimplemented."""


def arguments():
    parser = argparse.ArgumentParser(description="A fake of Depot's Sandbox API, for tests.")
    parser.add_argument("--state", required=True, help="a directory, made when it is missing")
    parser.add_argument("--listen", metavar="HOST:PORT", help="port 0: any that is free")
    parser.add_argument("--unix", metavar="PATH", help="a socket to be made")
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"), help="PEM files; for --listen")
    parser.add_argument("--token", help="without it, everybody may call")
    parser.add_argument("--org", help="the only organisation; without it, any")
    parser.add_argument("--minute", type=float, help="seconds in a minute of the API")
    parser.add_argument("--faults", metavar="FILE", help="a control document to begin with; -: standard input")
    parser.add_argument("--seed", type=int, help="of a schedule of faults")
    parser.add_argument("--rate", type=float, default=0.1, help="how many of the calls it breaks, 0 to 1")
    parser.add_argument("--idle", type=float, default=30, help="seconds until an idle connection is closed")
    parser.add_argument("--lifeline", action="store_true", help="end, sandboxes too, when standard input ends")
    parser.add_argument("--sweep", action="store_true", help="only end every sandbox of the state")
    return parser.parse_args()


class Program:
    def __init__(self, options):
        os.makedirs(options.state, exist_ok=True)
        self.options = options
        self.journal = Journal(options.state)
        self.faults = Faults(SmallFiles(options.state))
        self.sandboxes = Sandboxes(options.state, self.journal, 0 if options.lifeline else None)
        self.snapshots = Snapshots(options.state, self.sandboxes, self.journal)
        self.control = Control(self.sandboxes, self.faults, self.journal, lambda: self.stop(True))
        self.number = 0
        self.ends = asyncio.Event()
        self.ends_sandboxes = False

    def stop(self, sandboxes):
        self.ends_sandboxes |= sandboxes
        self.ends.set()

    def begin(self):
        document = {}
        if self.options.faults:
            with contextlib.nullcontext(sys.stdin) if self.options.faults == "-" else open(self.options.faults) as file:
                document = json.load(file)
        if self.options.minute is not None:
            document.setdefault("settings", {})["minute"] = self.options.minute
        if self.options.seed is not None:
            document["schedule"] = {"seed": self.options.seed, "rate": self.options.rate}
        self.control.apply(document)

    def open_call(self, scope):
        headers = dict(scope["headers"])
        org = headers.get(b"x-depot-org", (self.options.org or "org-default").encode()).decode()
        method = scope["path"].removeprefix(PREFIX)
        self.number += 1
        rule = self.faults.take(org, method)
        call = Call(self.number, method, org, self.faults.settings(org), rule)
        self.journal.write("call", number=call.number, method=method, org=org, rule=rule, http=scope["http_version"])
        return call

    def close_call(self, call, outcome):
        self.journal.write(
            "answer",
            number=call.number,
            method=call.method,
            org=call.org,
            sandbox=call.sandbox,
            outcome=outcome,
            fault=call.fault,
            ms=round((time.monotonic() - call.began) * 1000, 1),
        )

    async def listen(self, listener):
        told = {"ready": True, "pid": os.getpid(), "state": os.path.abspath(self.options.state)}
        servers = []
        if self.options.listen:
            host, _, port = self.options.listen.rpartition(":")
            context = None
            if self.options.tls:
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(*self.options.tls)
                context.set_alpn_protocols(["h2", "http/1.1"])
            server = await asyncio.start_server(listener.accept, host.strip("[]"), int(port), ssl=context, backlog=512)
            bound = server.sockets[0].getsockname()
            told["url"] = f"{'https' if context else 'http'}://{host}:{bound[1]}"
            servers.append(server)
        if self.options.unix:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.options.unix)
            servers.append(await asyncio.start_unix_server(listener.accept, self.options.unix, backlog=512))
            told["unix"] = self.options.unix
        return servers, told

    async def run(self):
        loop = asyncio.get_running_loop()
        self.begin()
        self.snapshots.resume()
        await self.sandboxes.resume()
        if self.options.sweep:
            await self.sandboxes.end_all()
            return
        service = Peer(self.sandboxes, self.snapshots, self.control, self.journal, self.options.token, self.options.org)
        application = SandboxServiceASGIApplication(
            service, codecs=[Binary(), JSON()], compressions=[GzipCompression(), ZstdCompression()]
        )
        listener = Listener(application, self.open_call, self.close_call, self.control, self.options.idle)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, False)
        if self.options.lifeline:
            loop.add_reader(0, self._lifeline)
        servers, told = await self.listen(listener)
        self.journal.write("started", **told)
        print(json.dumps(told), flush=True)
        await self.ends.wait()
        for server in servers:
            server.close()
        await listener.finish(1)
        if self.ends_sandboxes:
            await self.sandboxes.end_all()
        self.journal.write("stopped", sandboxes=self.ends_sandboxes)

    def _lifeline(self):
        if not os.read(0, 1):
            asyncio.get_running_loop().remove_reader(0)
            self.stop(True)


async def main(options):
    await Program(options).run()
    # Connections that hang must not hold it up.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    chosen = arguments()
    why = isolation.require_tools()
    if why is None and not (chosen.listen or chosen.unix or chosen.sweep):
        why = "nothing to listen on: give --listen or --unix"
    if why is not None:
        sys.exit(f"peer: {why}")
    asyncio.run(main(chosen))
