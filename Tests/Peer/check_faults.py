"""Shows that the peer's faults are what they say, seen from outside: with sockets, and without a Connect library.

    python Tests/Peer/check_faults.py [--only NAME]

One JSON line a check; it exits with 1 when one failed. It starts a peer of its own.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import traceback

# They add themselves to CHECKS.
from faultchecks import life, wire, world  # noqa: F401
from faultchecks.session import CHECKS, HERE, Org, Peer, expect, processes_of


def main(only):
    state = tempfile.mkdtemp(prefix="snapwf-peer-")
    counts = {"passed": 0, "failed": 0}
    peer = Peer(state)
    for number, body in enumerate(CHECKS):
        if only and only not in body.__name__:
            continue
        told = {"check": body.__name__.replace("_", " "), "ok": True}
        try:
            body(Org(peer, f"org-{number}"))
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            lines = [
                f"{os.path.basename(one.filename)}:{one.lineno}" for one in frames if one.filename.startswith(HERE)
            ]
            told |= {"ok": False, "error": f"{type(error).__name__}: {error}", "lines": lines}
        counts["passed" if told["ok"] else "failed"] += 1
        print(json.dumps(told), flush=True)
        if not told["ok"]:
            print(json.dumps(told), file=sys.stderr)
    # The end of the lifeline ends the server and every sandbox.
    expect(processes_of(state), "no sandbox is left to be ended")
    os.close(peer.write_end)
    peer.wait()
    left = processes_of(state)
    shutil.rmtree(state)
    ok = counts["failed"] == 0 and not left
    print(json.dumps(counts | {"left": left, "ok": ok}))
    return 0 if ok and counts["passed"] else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The peer's faults, seen from outside.")
    parser.add_argument("--only", help="a part of a check's name, with underscores")
    sys.exit(main(parser.parse_args().only))
