"""How soon a waiting DBOS Transact process begins a workflow that was enqueued: the peer of the engine's queues.

usage: dbos_queue.py DATABASE_URL COUNT

Prints JSON: milliseconds from the answer of the enqueuing to the first line of the workflow, one a workflow.
"""
import json
import logging
import sys
import time

from dbos import DBOS

logging.disable(logging.WARNING)
begun: dict[int, float] = {}


@DBOS.workflow()
def noted(number: int) -> int:
    begun[number] = time.monotonic()
    return number


def main() -> None:
    DBOS(config={"name": "bench", "system_database_url": sys.argv[1], "log_level": "ERROR", "run_admin_server": False})
    DBOS.launch()
    queue = DBOS.register_queue("q")
    time.sleep(2)
    latencies = []
    for number in range(int(sys.argv[2])):
        handle = queue.enqueue(noted, number)
        enqueued = time.monotonic()
        assert handle.get_result() == number
        latencies.append((begun[number] - enqueued) * 1000)
        # Not in step with whatever it polls by.
        time.sleep(0.037 * (number % 7))
    DBOS.destroy()
    print(json.dumps(latencies))


main()
