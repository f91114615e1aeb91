"""What happened, one JSON object a line, in a file that outlives the process."""

import json
import os
import time


class Journal:
    """Appends to DIR/journal. A line is one write, so a killed process leaves no half line."""

    def __init__(self, directory):
        path = os.path.join(directory, "journal")
        self.descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, event, **fields):
        line = {"time": round(time.time(), 4), "event": event}
        line.update((key, value) for key, value in fields.items() if value is not None)
        os.write(self.descriptor, json.dumps(line).encode() + b"\n")


class SmallFiles:
    """JSON documents in a directory, replaced as a whole. They survive a kill of the process, not of the machine."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)

    def path(self, name):
        return os.path.join(self.directory, name + ".json")

    def write(self, name, value):
        aside = self.path(name) + ".new"
        with open(aside, "w") as file:
            json.dump(value, file)
        os.replace(aside, self.path(name))

    def remove(self, name):
        try:
            os.unlink(self.path(name))
        except FileNotFoundError:
            pass

    def read(self, name, otherwise=None):
        try:
            with open(self.path(name)) as file:
                return json.load(file)
        except FileNotFoundError:
            return otherwise

    def all(self):
        names = [name[:-5] for name in os.listdir(self.directory) if name.endswith(".json")]
        return {name: self.read(name) for name in names}
