"""``evtkit watch``: lines of a stream into rows, rows into alarms, alarms to the reader."""

from __future__ import annotations

from evtkit.cli.watch.command import watch_command

__all__ = ["watch_command"]
