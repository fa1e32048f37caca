"""Judge readings of many sensors in a Redis stream, from any number of hosts, each row once whatever crashes.

    python redis_streams.py --url redis://127.0.0.1:6379 --stream readings --part 0 --parts 2

The stream's entries have the fields ``sensor`` and ``value``. Workers share the sensors out among themselves by a hash
of their names. A worker keeps its detectors, as bytes, in a hash of Redis, beside the position in the stream that they
have come to; both change in one transaction with the alarms that are written. So a worker that dies, is started again,
or is started twice by mistake, judges every row once: a transaction that another worker was ahead of is dropped. Needs
the client, ``pip install redis``.
"""

from __future__ import annotations

import argparse
import json
import zlib
from typing import Any

import numpy as np

from evtkit import Spot

POSITION = b"#position"


def judge(
    redis: Any,
    stream: str,
    *,
    part: int = 0,
    parts: int = 1,
    calibrate: int = 500,
    risk: float = 1e-3,
    count: int = 200,
) -> int:
    """Judge the next rows of this part; returns how many rows of the stream were read, 0 at its end.

    The first `calibrate` values of a sensor teach its detector; until then they wait in its state.
    """
    states, alarms = f"{stream}:states:{part}of{parts}", f"{stream}:alarms"
    with redis.pipeline() as change:
        change.watch(states)  # another worker that is ahead makes `execute` fail
        position = change.hget(states, POSITION) or b"0-0"
        entries = redis.xread({stream: position}, count=count)
        if not entries:
            return 0
        rows: dict[bytes, list[tuple[bytes, float]]] = {}
        for number, fields in entries[0][1]:
            if zlib.crc32(fields[b"sensor"]) % parts == part:
                rows.setdefault(fields[b"sensor"], []).append((number, float(fields[b"value"])))
        known = dict(zip(rows, change.hmget(states, list(rows)), strict=True)) if rows else {}
        change.multi()
        for sensor, new in rows.items():
            state, found = learnt(known[sensor], new, calibrate, risk)
            change.hset(states, sensor, state)
            for number, value, probability in found:
                told = {"sensor": sensor, "entry": number, "value": repr(value), "probability": repr(probability)}
                change.xadd(alarms, told)
        change.hset(states, POSITION, entries[0][1][-1][0])
        change.execute()
    return len(entries[0][1])


def learnt(
    state: bytes | None, rows: list[tuple[bytes, float]], calibrate: int, risk: float
) -> tuple[bytes, list[tuple[bytes, float, float]]]:
    """A sensor's next state, and its alarms among the rows."""
    waiting = [] if state is None else json.loads(state).get("waiting")
    if waiting is None:
        detector = Spot.from_bytes(state)
    else:
        need = calibrate - len(waiting)
        waiting += [value for _, value in rows[:need]]
        rows = rows[need:]
        if len(waiting) < calibrate:
            return json.dumps({"waiting": waiting}).encode(), []
        detector = Spot(risk=risk, n_threads=1).fit(np.array(waiting))
    values = np.array([value for _, value in rows])
    alarms = []
    if values.size:
        trace = detector.trace(values, alarms_only=True)
        alarms = [(*rows[i], float(np.exp(trace.log_probability[i]))) for i in np.flatnonzero(trace.label == 2)]
    return detector.to_bytes(), alarms


def main() -> None:
    """Judge what comes, for as long as it comes."""
    import time

    import redis

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", default="redis://127.0.0.1:6379")
    parser.add_argument("--stream", default="readings")
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    given = parser.parse_args()
    server = redis.Redis.from_url(given.url)
    while True:
        try:
            if not judge(server, given.stream, part=given.part, parts=given.parts):
                time.sleep(0.2)
        except redis.WatchError:
            continue  # another worker was ahead


if __name__ == "__main__":
    main()
