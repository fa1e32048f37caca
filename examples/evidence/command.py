"""Command: the options that the scripts share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from settings import FRESH, NAMES, Setting


def parser(doc: str | None, shift: bool = False, more: tuple[str, ...] = ()) -> argparse.ArgumentParser:
    """Of a script that works on one setting, or on one shift of it."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("evidence-output"))
    parser.add_argument("--setting", choices=(*NAMES, *FRESH, *more), required=True)
    if shift:
        parser.add_argument("--shift", required=True, help="'own', or a shift of the setting's")
        parser.add_argument("--mistakes", type=int, default=40)
        parser.add_argument("--held-out", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the options, with the threads set."""
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["EVTKIT_NUM_THREADS"] = str(options.threads)
    return options


def chosen(options: argparse.Namespace) -> Setting:
    return Setting(options.setting, options.data, options.output)
