"""POST /_control: settings, rules, schedules, sandboxes out of nowhere, and their sudden ends.

The document's members are carried out in this order: org (whose; "*" for all), clear, settings, rules, schedule,
sandboxes (each: name, env, age in seconds, minutes, status, real), act (each: sandbox, do: vanish, expire, fail, kill,
status with a value), shutdown (ends everything, then the server). The answer tells of the sandboxes; so does GET.
"""

import json
import time

from .sandboxes import CANCELLED, FAILED, RUNNING

_LIMIT = 1 << 20


class Control:
    def __init__(self, sandboxes, faults, journal, shut_down):
        self.sandboxes = sandboxes
        self.faults = faults
        self.journal = journal
        self.shut_down = shut_down

    async def __call__(self, scope, receive, send):
        body = b""
        while len(body) < _LIMIT:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        document = {}
        try:
            document = json.loads(body) if body else {}
            made = self.apply(document)
            status, answer = 200, {"made": made} | self.describe(document.get("org", "*"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            status, answer = 400, {"error": f"{type(error).__name__}: {error}"}
        data = json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
        await send({"type": "http.response.body", "body": data, "more_body": False})
        if status == 200 and document.get("shutdown"):
            self.shut_down()

    def apply(self, document):
        org = document.get("org", "*")
        self.faults.change(org, document)
        made = [self._make(org, given) for given in document.get("sandboxes", [])]
        for action in document.get("act", []):
            self.act(self.sandboxes.all[action["sandbox"]], action["do"], action.get("value"))
        return made

    def _make(self, org, given):
        """A sandbox that somebody else made."""
        settings = self.faults.settings(org) | {"list_lag_calls": 0, "list_lag_seconds": 0, "boot_seconds": 0}
        sandbox = self.sandboxes.create(
            given.get("org", org),
            given.get("minutes", 120),
            settings,
            name=given.get("name"),
            env=given.get("env", {}),
            real=given.get("real", False),
        )
        sandbox.created -= given.get("age", 0)
        sandbox.order -= int(given.get("age", 0) * 1e9)
        if not sandbox.real:
            sandbox.status, sandbox.started = given.get("status", RUNNING), sandbox.created
            if sandbox.is_terminal:
                self.sandboxes.living.discard(sandbox.id)
        self.sandboxes.save(sandbox)
        return sandbox.id

    def act(self, sandbox, what, value=None):
        self.journal.write("act", sandbox=sandbox.id, org=sandbox.org, do=what)
        if what == "vanish":
            self.sandboxes.vanish(sandbox)
        elif what == "expire":
            sandbox.expires = time.time()
            self.sandboxes.end(sandbox, CANCELLED, "the sandbox's timeout")
        elif what == "fail":
            self.sandboxes.end(sandbox, FAILED, "the machine below it failed")
        elif what == "kill":
            self.sandboxes.end(sandbox, CANCELLED)
        elif what == "status":
            sandbox.status = int(value)
            self.sandboxes.save(sandbox)
        else:
            raise ValueError(f"unknown: {what}")

    def describe(self, org):
        found = self.sandboxes.of(None if org == "*" else org)
        keys = ("id", "org", "name", "env", "status", "created", "expires", "error")
        return {
            "sandboxes": [{key: getattr(sandbox, key) for key in keys} for sandbox in found],
            "living": sum(not sandbox.is_terminal for sandbox in found),
            # Sandboxes of whose processes something is left.
            "processes": sum(sandbox.id in self.sandboxes.pidfds for sandbox in found),
            "rules": [rule for rule in self.faults.rules if org in ("*", rule["org"])],
            "schedules": self.faults.schedules,
        }
