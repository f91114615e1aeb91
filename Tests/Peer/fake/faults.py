"""Which call goes wrong, and how. Decisions only; listener.py and service.py carry them out.

A rule is a JSON object: which calls (`method`, or "*"; of them the `nth` since the rule was made, or `every` so many;
`times`, 1 by default, 0 for ever), the `fault`, and what that needs:

    status      status, code, message, retry_after, body: json | empty | html | garbage; when: before | after the effect
    reset       when: before | after the effect, body: after `bytes` of the request, answer: after `bytes` of the answer
    cut         a stream: at: started | finished | end | the number of messages; how: close | reset; `bytes` of the
                message that is cut are still sent
    slow        seconds before the answer, and `pause` between pieces of `chunk` bytes
    hang        no answer for as long as the connection lasts
    die         kill -9 of the server; when: before | after the effect
    duplicate   CreateSandbox makes two
    vanish, expire, fail    what the call is about, right before it
    noise       a command's stream has Error and Evicted events in it
"""

import random

FAULTS = (
    "status",
    "reset",
    "cut",
    "slow",
    "hang",
    "die",
    "duplicate",
    "vanish",
    "expire",
    "fail",
    "noise",
)
STREAMS = ("RunCommand", "AttachCommand", "ReadFile")
# What a seeded schedule picks from, with weights. What ends sandboxes or the server must be asked for by name.
SCHEDULE = {
    "unavailable": 4,
    "unavailable-after": 4,
    "internal": 2,
    "internal-after": 2,
    "exhausted": 2,
    "reset": 4,
    "reset-after": 4,
    "reset-answer": 2,
    "cut-started": 2,
    "cut-finished": 2,
    "cut-end": 2,
    "slow": 1,
}
_NAMED = {
    "unavailable": {"fault": "status", "status": 503, "code": "unavailable"},
    "unavailable-after": {"fault": "status", "status": 503, "body": "html", "when": "after"},
    "internal": {"fault": "status", "status": 500, "code": "internal"},
    "internal-after": {"fault": "status", "status": 500, "code": "internal", "when": "after"},
    "exhausted": {"fault": "status", "status": 429, "code": "resource_exhausted", "retry_after": "0"},
    "reset": {"fault": "reset", "when": "before"},
    "reset-after": {"fault": "reset", "when": "after"},
    "reset-answer": {"fault": "reset", "when": "answer", "bytes": 3},
    "cut-started": {"fault": "cut", "at": "started", "how": "reset"},
    "cut-finished": {"fault": "cut", "at": "finished", "how": "close"},
    "cut-end": {"fault": "cut", "at": "end", "how": "reset"},
    "slow": {"fault": "slow", "seconds": 0.05},
    "duplicate": {"fault": "duplicate"},
    "vanish": {"fault": "vanish"},
    "expire": {"fault": "expire"},
    "fail": {"fault": "fail"},
    "die": {"fault": "die", "when": "before"},
    "die-after": {"fault": "die", "when": "after"},
}

DEFAULTS = {
    # Seconds in a minute of the API.
    "minute": 60.0,
    "max_minutes": 1440,
    "boot_seconds": 0.0,
    "kill_seconds": 0.05,
    # New sandboxes are missing from so many lists, or for so long.
    "list_lag_calls": 0,
    "list_lag_seconds": 0.0,
    "page_size": 50,
    # Every page has a next one.
    "list_loop": False,
    # Seconds that the server's clock is ahead.
    "skew": 0.0,
    "snapshots": False,
    "capture_seconds": 0.1,
    "unique_names": False,
    "unknown_fields": False,
    # normal, unauthenticated, permission_denied, or html: no Connect server at all.
    "mode": "normal",
    # Methods that this version does not have: 404 without a document.
    "missing": [],
    # There is a /work that the default user may write in.
    "work": True,
    # A command that nobody reads any more is killed.
    "disconnect_kills": False,
    "token": None,
}


class Faults:
    """Rules, schedule and settings of every organisation; "*" is for those without their own."""

    def __init__(self, files):
        self.files = files
        stored = files.read("faults", {})
        self.settings_of = stored.get("settings", {})
        self.rules = stored.get("rules", [])
        self.schedules = stored.get("schedules", {})
        self.merged = {}

    def save(self):
        self.files.write("faults", {"settings": self.settings_of, "rules": self.rules, "schedules": self.schedules})
        self.merged = {}

    def settings(self, org):
        found = self.merged.get(org)
        if found is None:
            found = DEFAULTS | self.settings_of.get("*", {}) | self.settings_of.get(org, {})
            self.merged[org] = found
        return found

    def change(self, org, document):
        """What a control document says of settings, rules and the schedule. Raises ValueError for what is unknown."""
        settings, rules = document.get("settings", {}), document.get("rules", [])
        unknown = [name for name in settings if name not in DEFAULTS]
        unknown += [str(rule.get("fault")) for rule in rules if rule.get("fault") not in FAULTS]
        schedule = document.get("schedule")
        if schedule is not None:
            unknown += [name for name in schedule.get("faults", {}) if name not in _NAMED]
        if unknown:
            raise ValueError(f"unknown: {', '.join(unknown)}")
        if document.get("clear"):
            self.rules = [rule for rule in self.rules if org not in ("*", rule["org"])]
            self.schedules = {} if org == "*" else {key: one for key, one in self.schedules.items() if key != org}
        self.settings_of.setdefault(org, {}).update(settings)
        self.rules += [{"method": "*", "times": 1} | rule | {"org": org, "seen": 0, "done": 0} for rule in rules]
        if schedule is not None:
            weights = schedule.get("faults", SCHEDULE)
            weights = weights if isinstance(weights, dict) else dict.fromkeys(weights, 1)
            start = {"seed": 0, "rate": 0.1, "calls": 0, "done": 0}
            self.schedules[org] = start | schedule | {"faults": weights}
        self.save()

    def take(self, org, method):
        """What happens to this call, or None. Counts it."""
        found = None
        counted = False
        for rule in self.rules:
            if rule["org"] not in ("*", org) or rule["method"] not in ("*", method):
                continue
            rule["seen"] += 1
            counted = True
            if found is None and _is_due(rule):
                rule["done"] += 1
                found = rule
        schedule = self.schedules.get(org) or self.schedules.get("*")
        if schedule is not None:
            schedule["calls"] += 1
            counted = True
            if found is None:
                found = _scheduled(schedule, org, method)
                schedule["done"] += 1 if found else 0
        if counted:
            self.save()
        return None if found is None else {key: value for key, value in found.items() if key not in ("seen", "done")}


def _is_due(rule):
    if 0 < rule["times"] <= rule["done"]:
        return False
    if "every" in rule:
        return rule["seen"] % rule["every"] == 0
    return rule["seen"] >= rule.get("nth", 1)


def _scheduled(schedule, org, method):
    """The same for the same seed, organisation and number of the call."""
    if method not in schedule.get("methods", [method]):
        return None
    if schedule.get("count") is not None and schedule["done"] >= schedule["count"]:
        return None
    generator = random.Random(f"{schedule['seed']}/{org}/{schedule['calls']}")
    if generator.random() >= schedule["rate"]:
        return None
    weights = {
        name: weight
        for name, weight in schedule["faults"].items()
        if (not name.startswith("cut") or method in STREAMS) and (name != "duplicate" or method == "CreateSandbox")
    }
    if not weights:
        return None
    name = generator.choices(list(weights), list(weights.values()))[0]
    return {"name": name} | _NAMED[name]
