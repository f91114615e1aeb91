"""One call on its way through the server."""

import contextvars
import time
from dataclasses import dataclass, field

CURRENT = contextvars.ContextVar("call")


@dataclass
class Call:
    number: int
    method: str
    org: str
    settings: dict
    rule: dict | None
    # Set on the way.
    sandbox: str | None = None
    outcome: str | None = None
    # The next message of the stream is Finished.
    finishing: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def fault(self):
        return self.rule["fault"] if self.rule else None

    def is_hit(self, fault):
        return self.fault == fault


def current():
    return CURRENT.get()
