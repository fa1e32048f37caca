"""Where events go besides the standard output: a program of one's own, and a file for Prometheus."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

from evtkit.cli.watch.views import as_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from evtkit.cli.watch.watching import Told, Watch

__all__ = ["Executor", "write_metrics"]

_MOST = 8  # programs running at a time
_PATIENCE = 10.0  # seconds for those that still run at the end


class Executor:
    """Run a program for every event that begins or is over.

    No shell is involved: the command is split into words once, and the event comes as JSON on the program's standard
    input and in the environment variable EVTKIT_EVENT. So nothing in a cell or a name can become a command.
    """

    def __init__(self, command: str, note: Callable[[str], None]) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise ValueError(f"--exec must be a command, got {command!r}: {error}") from error
        if not self._words:
            raise ValueError("--exec must be a command, got nothing")
        self._note, self._running = note, []  # type: ignore[var-annotated]

    def run(self, told: list[Told]) -> None:
        """Start it for each event."""
        for item in told:
            if item.kind == "alarm":
                continue
            self._reap(wait=len(self._running) >= _MOST)
            text = as_json(item)
            try:
                process = subprocess.Popen(
                    self._words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, close_fds=True,
                    env={**os.environ, "EVTKIT_EVENT": text},
                )  # fmt: skip
            except OSError as error:
                self._note(f"--exec {self._words[0]} cannot be run: {error.strerror or error}")
                continue
            try:
                assert process.stdin is not None
                process.stdin.write(text.encode() + b"\n")
                process.stdin.close()
            except OSError:
                pass  # it does not read, and need not
            self._running.append(process)

    def close(self) -> None:
        """Wait a little for those that still run."""
        self._reap(wait=True)

    def _reap(self, *, wait: bool) -> None:
        running = []
        for process in self._running:
            try:
                code = process.wait(_PATIENCE if wait else 0.0)
            except subprocess.TimeoutExpired:
                running.append(process)
                continue
            if code:
                self._note(f"--exec {self._words[0]} ended with exit code {code}")
        self._running = running


def write_metrics(path: str, watch: Watch) -> None:
    """Write counters and levels as a text file that a Prometheus node exporter collects, atomically."""
    try:
        from prometheus_client import CollectorRegistry, Counter, Gauge, write_to_textfile
    except ImportError as error:
        raise ImportError(
            "--prometheus needs prometheus-client; install it with: pip install 'evtkit[prometheus]'"
        ) from error

    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"evtkit_watch_{name}", text, labels, registry=registry)

    def counter(name: str, text: str, *labels: str) -> Counter:
        return Counter(f"evtkit_watch_{name}", text, labels, registry=registry)

    counter("rows", "Rows seen, those of the calibration among them").inc(watch.rows)
    gauge("risk", "Probability that an ordinary row begins an event").set(watch.detector.risk)
    counter("events", "Events begun").inc(watch.events.total)
    gauge("events_going_on", "Events that are not over").set(len(watch.events.going_on))
    going_on = {channel for event in watch.events.going_on for channel in event.channels}
    alarms = counter("alarms", "Alarms of a column", "column")
    state = gauge("in_event", "1 while a column is in an event", "column")
    level = gauge("level", "Alarm level of a column", "column", "side")
    sides = ("lower", "upper") if watch.detector.side == "both" else (watch.detector.side,)
    levels = watch.detector.alarm_threshold.reshape(len(watch.columns), len(sides))
    for c, column in enumerate(watch.columns):
        alarms.labels(column).inc(int(watch.alarms[c]))
        state.labels(column).set(int(column in going_on))
        for s, side in enumerate(sides):
            level.labels(column, side).set(float(levels[c, s]))
    write_to_textfile(path, registry)
