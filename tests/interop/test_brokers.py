"""The recipe for streams of many hosts, on a real Redis server on the loopback: replay judges alike, and once."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from evtkit import Spot

if TYPE_CHECKING:
    from collections.abc import Iterator

redis = pytest.importorskip("redis")
RECIPE = Path(__file__).parents[2] / "examples" / "operations" / "redis_streams.py"


def recipe() -> Any:
    spec = importlib.util.spec_from_file_location("redis_streams", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server(tmp_path) -> Iterator[Any]:
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("no redis-server is installed")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port)
    try:
        for _ in range(100):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(10)


def test_crashes_and_doubled_workers_change_no_alarm(server, monkeypatch):
    module, rng = recipe(), np.random.default_rng(0)
    sensors = {f"s{i}".encode(): rng.standard_exponential(900) for i in range(5)}
    for x in sensors.values():
        x[600::70] += 30.0
    with server.pipeline() as feed:
        for row in range(900):
            for name, x in sensors.items():
                feed.xadd("readings", {"sensor": name, "value": repr(float(x[row]))})
        feed.execute()

    class PowerCutError(Exception):
        """Before the transaction."""

    plain = redis.client.Pipeline.execute

    def failing(self, *arguments, **options):
        if rng.random() < 0.3:
            raise PowerCutError
        return plain(self, *arguments, **options)

    monkeypatch.setattr(redis.client.Pipeline, "execute", failing)
    for part in (0, 1):
        going_on = True
        while going_on:
            try:  # blocks of any size; a second worker on the same part now and then
                going_on = module.judge(server, "readings", part=part, parts=2, count=int(rng.integers(1, 400)))
            except (PowerCutError, redis.WatchError):
                continue
    monkeypatch.setattr(redis.client.Pipeline, "execute", plain)
    told = [(a[b"sensor"], float(a[b"value"])) for _, a in server.xrange("readings:alarms")]
    for name, x in sensors.items():
        detector = Spot(risk=1e-3, n_threads=1).fit(x[:500])
        wanted = x[500:][detector.update(x[500:]) == 2]
        assert wanted.size >= 4
        assert [value for sensor, value in told if sensor == name] == wanted.tolist()


def test_a_worker_that_is_behind_another_changes_nothing(server):
    module = recipe()
    for value in np.random.default_rng(1).standard_exponential(40):
        server.xadd("readings", {"sensor": b"a", "value": repr(float(value))})
    states = "readings:states:0of1"
    plain, other = server.xread, redis.Redis(port=server.connection_pool.connection_kwargs["port"])

    def overtaken(*arguments, **options):
        found = plain(*arguments, **options)
        other.hset(states, module.POSITION, found[0][1][-1][0])
        return found

    server.xread = overtaken
    with pytest.raises(redis.WatchError):
        module.judge(server, "readings")
    other.close()
    assert server.hkeys(states) == [module.POSITION]
