"""Steps that do nothing, in DBOS Transact on SQLite or PostgreSQL: the peer of the same steps in the engine.

usage: dbos_steps.py DATABASE ROUNDS STEPS WORKFLOWS STEPS_A_WORKFLOW

DATABASE is a file, or a URL of a server. Prints JSON: seconds of each round of one workflow of STEPS steps (sequential), and of WORKFLOWS workflows of
STEPS_A_WORKFLOW steps each at once (concurrent), with the versions.
"""
import importlib.metadata
import json
import logging
import sqlite3
import sys
import time

from dbos import DBOS

logging.disable(logging.WARNING)


@DBOS.step()
def one(number: int) -> int:
    return 1


@DBOS.workflow()
def steps(count: int) -> int:
    return sum(one(index) for index in range(count))


def seconds(body) -> float:
    start = time.monotonic()
    body()
    return time.monotonic() - start


def at_once(workflows: int, count: int) -> None:
    handles = [DBOS.start_workflow(steps, count) for _ in range(workflows)]
    for handle in handles:
        assert handle.get_result() == count


def main() -> None:
    database = sys.argv[1]
    rounds, count, workflows, each = (int(argument) for argument in sys.argv[2:])
    is_server = database.startswith("postgres")
    url = database if is_server else f"sqlite:///{database}"
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR",
                 "run_admin_server": False})
    DBOS.launch()
    steps(10)
    sequential = [seconds(lambda: steps(count)) for _ in range(rounds)]
    concurrent = [seconds(lambda: at_once(workflows, each)) for _ in range(rounds)]
    journal = None
    if not is_server:
        with sqlite3.connect(database) as connection:
            journal = connection.execute("PRAGMA journal_mode").fetchone()[0]
    DBOS.destroy()
    print(json.dumps({
        "version": importlib.metadata.version("dbos"), "journal": journal,
        "sequential": [count / second for second in sequential],
        "concurrent": [workflows * each / second for second in concurrent],
    }))


main()
