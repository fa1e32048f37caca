"""``evtkit demo``: real data, in less than a minute."""

from __future__ import annotations

import click

from evtkit.cli._terminal import say

__all__ = ["demo_command"]


@click.command("demo", short_help="The main jobs on real data that needs no download: prices, and a network.")
@click.option(
    "--output", "-o", default="demo-output", show_default=True, metavar="DIR", help="Folder for the pictures."
)
def demo_command(output: str) -> None:
    """A level with its interval, alarms as events, what stands out among many, a network's fault found and repaired.

    The prices ship with Matplotlib, the digits that the network reads with scikit-learn; nothing is downloaded. Without
    PyTorch or scikit-learn the network is left out.

    \b
    Example:
      evtkit demo --output /tmp/evtkit
    """  # noqa: D301
    from evtkit import demo

    for part in demo.run(output):
        say(part.title, bold=True)
        for line in part.lines:
            say(f"  {line}")
        if part.pictures:
            say(f"  pictures           {', '.join(picture.name for picture in part.pictures)}")
        say()
    say(f"Pictures and the report are in {output}")
