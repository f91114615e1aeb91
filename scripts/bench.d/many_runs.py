"""Fills a state directory with the records of many runs, copies of one that ended well."""
import random, sqlite3

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
SPACING = 60_000  # milliseconds between two runs
NUMBERS = 64  # of the store's one sequence, for each run


def fill(database, count):
    """Copies the oldest run with its steps, resources and events `count` times, a minute apart, and drops it.

    Ids carry the time and numbers grow with it, as where the runs had been made one after the other.
    """
    store = sqlite3.connect(database, isolation_level=None)
    names = {table: [row[1] for row in store.execute(f"PRAGMA table_info({table})")]
             for table in ("runs", "steps", "resources", "events")}
    number, id, began = store.execute("SELECT no, id, created_at FROM runs ORDER BY no LIMIT 1").fetchone()
    span = store.execute("SELECT max(seq) FROM history WHERE run_no = ?", (number,)).fetchone()[0] - number
    if span >= NUMBERS:
        raise SystemExit(f"bench-cli: a run takes {span + 1} numbers, more than {NUMBERS}")
    rows = {table: [dict(zip(names[table], row)) for row in store.execute(
        f"SELECT * FROM {table} WHERE {'no' if table == 'runs' else 'run_no'} = ?", (number,))] for table in names}
    chance = random.Random(7)
    first = store.execute("SELECT next FROM sequence").fetchone()[0]
    store.execute("BEGIN IMMEDIATE")
    for copy in range(count):
        earlier = (count - copy) * SPACING
        changed = Change(id, run_id(began - earlier, chance), first + copy * NUMBERS - number, earlier)
        for table, found in rows.items():
            values = [[changed.value(column, value) for column, value in row.items()] for row in found]
            store.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(names[table]))})", values)
    store.execute("PRAGMA foreign_keys = ON")
    for table in ("steps", "resources", "events"):
        store.execute(f"DELETE FROM {table} WHERE run_no = ?", (number,))
    store.execute("DELETE FROM runs WHERE no = ?", (number,))
    store.execute("UPDATE sequence SET next = ?", (first + count * NUMBERS,))
    store.execute("COMMIT")
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = store.execute("SELECT count(*) FROM runs").fetchone()[0]
    store.close()
    if found != count:
        raise SystemExit(f"bench-cli: {found} runs instead of {count}")


class Change:
    """What tells a copied row from its original: the run's id, its numbers and its times."""

    NUMBERED = {"no", "run_no", "seq", "begun_seq", "done_seq"}

    def __init__(self, old, new, numbers, earlier):
        self.old, self.new, self.numbers, self.earlier = old, new, numbers, earlier

    def value(self, column, value):
        if value is None:
            return None
        if column in self.NUMBERED:
            return value + self.numbers
        if column == "at" or column.endswith("_at"):
            return value - self.earlier
        return value.replace(self.old, self.new) if isinstance(value, str) else value


def run_id(milliseconds, chance):
    """A ULID in lower case: 48 bits of time, 80 of chance."""
    number = milliseconds << 80 | chance.getrandbits(80)
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(26)))
