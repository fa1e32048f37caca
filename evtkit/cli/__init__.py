"""The ``evtkit`` command: fit, score, watch, plot and report the columns of a file.

Exit codes: 0 done; 1 an event of ``evtkit watch``, or ``evtkit score --alarm`` found values more improbable than
allowed; 2 wrong usage, bad input or output that cannot be written, with one line on the standard error that says what
was got and what is wanted; 3 a failure of evtkit itself; 130 interrupted by Ctrl-C; 141 the reader of the output went
away.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from evtkit._common.version import __version__
from evtkit.cli._terminal import BAD_INPUT, prepare, told
from evtkit.cli.demo import demo_command
from evtkit.cli.fit import fit_command
from evtkit.cli.plot import plot_command
from evtkit.cli.report import report_command
from evtkit.cli.score import score_command
from evtkit.cli.warm_up import warm_up_command
from evtkit.cli.watch import watch_command

__all__ = ["main"]


class _Group(click.Group):
    def main(self, *args: Any, **kwargs: Any) -> Any:
        prepare()
        try:
            return super().main(*args, **kwargs)
        except OSError:  # not even the error can be told
            sys.exit(BAD_INPUT)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with told():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with told():
            return super().invoke(ctx)


class _Elsewhere(click.Command):
    """A command that is loaded when it is run: what it needs takes longer to import than the help of the others."""

    def __init__(self, name: str, module: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self.module = module

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        command: click.Command = getattr(importlib.import_module(self.module), str(self.name))
        return command.make_context(info_name, args, parent, **extra)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="evtkit")
def main() -> None:
    """How improbable is this value, given what this column usually does?

    Extreme-value statistics for the columns of a CSV or Parquet file: the observations beyond a high threshold are
    fitted by a generalised Pareto distribution, which gives probabilities and return levels beyond what was ever
    observed.

    \b
    Examples:
      evtkit demo                                   the main jobs on real data, in a minute
      evtkit fit rain.csv --return-period 36525     the 100-year level of daily data
      evtkit score rain.csv --top 5                 the most improbable values
      evtkit watch latency.csv --follow --live      alarms as lines arrive
      evtkit plot rain.csv -c value --unit mm       can the fit be believed?
      evtkit report rain.csv -c value --unit mm     one page to sign
      evtkit saliency nets:make mistakes.npz        which filters are behind a network's mistakes?

    Exit codes: 0 done; 1 an event of `evtkit watch` or `evtkit score --alarm`; 2 wrong usage, bad input or output that
    cannot be written; 3 a failure of evtkit itself; 130 Ctrl-C; 141 the reader of the output went away.
    """  # noqa: D301


for _command in (
    fit_command,
    score_command,
    watch_command,
    plot_command,
    report_command,
    demo_command,
    warm_up_command,
):
    main.add_command(_command)
main.add_command(_Elsewhere("saliency", "evtkit.cli.saliency", "Which filters are behind a network's mistakes?"))
