"""The ``evtkit`` command: fit, score, watch, plot and report the columns of a file.

Exit codes: 0 done; 1 an event of ``evtkit watch``, or ``evtkit score --alarm`` found values more improbable than
allowed; 2 wrong usage or bad input, with one line on the standard error that says what was got and what is wanted; 3 a
failure of evtkit itself.
"""

from __future__ import annotations

import importlib
import traceback
from typing import Any

import click

from evtkit._common.version import __version__
from evtkit.cli.demo import demo_command
from evtkit.cli.fit import fit_command
from evtkit.cli.plot import plot_command
from evtkit.cli.report import report_command
from evtkit.cli.score import score_command
from evtkit.cli.warm_up import warm_up_command
from evtkit.cli.watch import watch_command
from evtkit.cli.watch.plain import plain

__all__ = ["main"]


FAILURE = 3
"""Exit code of a failure of evtkit itself."""


class BadInput(click.ClickException):
    """What the library refuses, as one line and exit code 2."""

    exit_code = 2


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of our output has gone; click ends quietly
            raise
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except (ValueError, OSError, ImportError) as error:
            raise BadInput(plain(" ".join(str(error).split()), longest=1000)) from error
        except Exception:  # a fault of ours: never the exit code of an alarm
            traceback.print_exc()
            ctx.exit(FAILURE)


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
      evtkit demo                                   real prices, in a few seconds
      evtkit fit rain.csv --return-period 36525     the 100-year level of daily data
      evtkit score rain.csv --top 5                 the most improbable values
      evtkit watch latency.csv --follow --live      alarms as lines arrive
      evtkit plot rain.csv -c value --unit mm       can the fit be believed?
      evtkit report rain.csv -c value --unit mm     one page to sign
      evtkit saliency nets:make mistakes.npz        which filters are behind a network's mistakes?

    Exit codes: 0 done; 1 an event of `evtkit watch` or `evtkit score --alarm`; 2 wrong usage or bad input; 3 a failure
    of evtkit itself.
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
