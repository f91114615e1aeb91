"""Every call of depot.sandbox.v1 against a server, by a client that has nothing in common with ours.

    python Tests/Peer/client.py --url http://127.0.0.1:7777 --token T [--org O] [--codec proto|json]
        [--compression identity|gzip|zstd] [--http 1.1|2] [--ca FILE] [--snapshots] [--forgets] [--directory /work]
        [--only NAME]

One JSON line a check: {"check": ..., "ok": ..., "error": ...}; the last line has the counts. It exits with 1 when a
check failed. It makes sandboxes and kills what it made.
"""

import argparse
import asyncio
import json
import os
import sys
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "generated"))

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from depot.sandbox.v1 import sandbox_pb

# They add themselves to CHECKS.
from checks import commands, files, protocol, sandboxes  # noqa: F401
from checks.session import CHECKS, Session, expect, ref


async def main(options):
    session = Session(options)
    counts = {"passed": 0, "failed": 0}
    try:
        # A server that is not there is one failure, not fifty.
        session.id = (await session.running(env={"SHARED": "s", "BOTH": "shared"})).sandbox_id
    except (ConnectError, AssertionError) as error:
        print(json.dumps({"check": "create", "ok": False, "error": f"{type(error).__name__}: {error}"}))
        return 1
    await session.shell(f"mkdir -p {options.directory} && chmod 1777 {options.directory}", sudo=True)
    for body in CHECKS:
        if options.only and options.only not in body.__name__:
            continue
        told = {"check": body.__name__.replace("_", " "), "ok": True}
        try:
            await body(session)
        except ConnectError as error:
            told |= {"ok": False, "error": f"{error.code}: {error.message}"}
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)
            lines = [f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in place[1:]]
            told |= {"ok": False, "error": f"{type(error).__name__}: {error}", "lines": lines}
        counts["passed" if told["ok"] else "failed"] += 1
        print(json.dumps(told), flush=True)
        if not told["ok"]:
            print(json.dumps(told), file=sys.stderr)
    for name in session.made:
        try:
            await session.call("kill_sandbox", sandbox_pb.KillSandboxRequest(sandbox=ref(name)))
        except ConnectError as error:
            expect(error.code in (Code.FAILED_PRECONDITION, Code.NOT_FOUND), f"kill {name}: {error.code}")
    # A kill is only the beginning of the end.
    for name in session.made:
        await session.ended(name)
    print(json.dumps(counts | {"ok": counts["failed"] == 0}))
    return 0 if counts["failed"] == 0 and counts["passed"] > 0 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Every call of depot.sandbox.v1 against a server.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--token")
    parser.add_argument("--org")
    parser.add_argument("--codec", choices=["proto", "json"], default="proto")
    parser.add_argument("--compression", choices=["identity", "gzip", "zstd"], default="gzip")
    parser.add_argument("--http", choices=["1.1", "2"], default="1.1")
    parser.add_argument("--ca", help="PEM file of the authorities to trust")
    parser.add_argument("--snapshots", action="store_true", help="the server has snapshots; else it says unimplemented")
    parser.add_argument("--forgets", action="store_true", help="what has ended may be not found")
    parser.add_argument("--directory", default="/work", help="of the sandbox, for files")
    parser.add_argument("--only", help="a part of a check's name, with underscores")
    code = asyncio.run(main(parser.parse_args()))
    sys.stdout.flush()
    # Not the interpreter's own way out: threads of the HTTP client can abort the process there.
    os._exit(code)
