"""``evtkit demo``: real data, in less than a minute."""

from __future__ import annotations

import click

from evtkit.cli._terminal import say

__all__ = ["demo_command"]


@click.command("demo", short_help="Real data that needs no download: prices, and a network's mistakes.")
@click.option(
    "--output", "-o", default="demo-output", show_default=True, metavar="DIR", help="Folder for the pictures."
)
def demo_command(output: str) -> None:
    """Fit, score and draw real prices; then find the filters behind a network's mistakes, and repair it.

    The prices ship with Matplotlib, the digits that the network reads with scikit-learn; nothing is downloaded. Without
    PyTorch or scikit-learn the second half is left out.

    \b
    Example:
      evtkit demo --output /tmp/evtkit
    """  # noqa: D301
    from evtkit import demo

    for part in demo.run(output):
        say(part.title, bold=True)
        for line in part.lines:
            say(f"  {line}")
        for picture in part.pictures:
            say(f"  picture            {picture}")
        say()
