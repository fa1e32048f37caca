"""Time zones by name: those of the zone database, and fixed offsets from UTC."""

from __future__ import annotations

import re
from datetime import UTC, timedelta, timezone
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from datetime import tzinfo

__all__ = ["zone_name", "zone_of"]

_OFFSET = re.compile(r"UTC([+-])(\d\d):(\d\d)(?::(\d\d))?")


def zone_of(name: str) -> tzinfo:
    """The time zone of a name such as "Europe/Berlin", "UTC" or "UTC+05:30".

    Raises
    ------
    ValueError
        If there is none of this name.

    Examples
    --------
    >>> zone_of("UTC+05:30").utcoffset(None)
    datetime.timedelta(seconds=19800)
    """
    if name == "UTC":
        return UTC
    if found := _OFFSET.fullmatch(name):
        hours, minutes, seconds = (int(part or 0) for part in found.groups()[1:])
        ahead = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        return timezone(ahead if found[1] == "+" else -ahead)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"a time zone must be known by its name, got {name!r:.80}") from error


def zone_name(zone: Any) -> str:
    """The name of a time zone of Python, pytz or dateutil, by which `zone_of` finds it; "UTC" where it has none.

    Examples
    --------
    >>> zone_name(timezone(timedelta(hours=-3)))
    'UTC-03:00'
    """
    text = str(zone)
    path = re.search(r"zoneinfo/([\w+-]+(?:/[\w+-]+)*)", text)  # dateutil tells the file
    offset = None if getattr(zone, "key", None) or getattr(zone, "zone", None) or path else zone.utcoffset(None)
    if offset is not None:
        text = str(timezone(offset))
    try:
        zone_of(name := path[1] if path else text)
    except ValueError:
        return "UTC"
    return name
