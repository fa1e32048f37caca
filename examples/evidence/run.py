"""All of the evidence by one command; whatever is done already is not done again.

    python examples/evidence/run.py --data DIR --output DIR [--jobs 2] [--only WORD ...]

DIR holds the weights and images that the documentation lists. Each step is a script of this folder run by itself, with
one thread each; on two processors all of it takes some hours, most of it for ImageNet's ResNet-50.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from settings import NAMES
from trained import NAMES as TRAINED

HERE = Path(__file__).parent
REPAIRS = {  # mistakes to repair, and right samples on which to measure what that costs
    "cifar_resnet56": {"natural": (30, 30), "own": (25, 20), "jpeg": (30, 20)},
    "cifar_resnet20": {"natural": (40, 40), "own": (40, 40), "jpeg": (30, 30), "noise": (30, 30)},
    "mnist_resnet18": {"mnist_m": (60, 50), "usps": (40, 40), "own": (30, 40)},
    "pacs_art_painting": {"art_painting": (40, 40), "own": (40, 40)},
    "pacs_cartoon": {"cartoon": (40, 40), "own": (40, 40)},
    "pacs_sketch": {"sketch": (40, 40)}, "mnist_vit": {"mnist_m": (30, 40)},
    "imagenet_resnet50": {"own": (12, 5), "jpeg": (12, 5)}, "imagenet_lite0": {"own": (20, 10), "jpeg": (20, 10)},
}  # fmt: skip
FEW = {
    "cifar_resnet56": ("natural", 20, 30), "cifar_resnet20": ("natural", 30, 40), "mnist_resnet18": ("usps", 30, 40),
    "pacs_cartoon": ("cartoon", 30, 40), "imagenet_resnet50": ("own", 12, 15), "imagenet_lite0": ("own", 15, 15),
}  # fmt: skip
FAULTS = {  # drawn, and right samples looked at
    "cifar_resnet56": (100, 1000), "cifar_resnet20": (80, 1000), "mnist_resnet18": (120, 1000), "mnist_vit": (60, 1000),
    "pacs_art_painting": (120, 1000), "pacs_cartoon": (70, 1000), "pacs_sketch": (60, 1000),
    "imagenet_resnet50": (40, 120), "imagenet_lite0": (120, 120),
}  # fmt: skip
CAUSES = {  # faults drawn for suspects, and the shift under which their repair is compared
    "cifar_resnet20": (70, "natural"), "cifar_resnet56": (60, "natural"), "fashion_mobile": (60, "contrast"),
    "fashion_vgg": (60, "contrast"), "fashion_vit": (60, ""), "digits_vgg": (60, "mnist_m"),
    "digits_mobile": (60, "usps"), "digits_resnet": (60, ""), "pacs_cartoon": (60, ""), "names_bert": (120, ""),
    "imagenet_lite0": (60, ""),
}  # fmt: skip


def steps() -> list[list[str]]:
    """Command lines in their order: networks first, then what needs them."""
    lines = [["trained.py", "--only", name] for name in TRAINED]
    for name, (drawn, pool) in FAULTS.items():
        lines.append(["faults.py", "--setting", name, "--faults", str(drawn), "--pool", str(pool)])
    for name, shifts in REPAIRS.items():
        for shift, (mistakes, held_out) in shifts.items():
            numbers = ["--mistakes", str(mistakes), "--held-out", str(held_out)]
            lines.append(["repair.py", "--setting", name, "--shift", shift, *numbers])
    for name, (shift, mistakes, held_out) in FEW.items():
        numbers = ["--mistakes", str(mistakes), "--held-out", str(held_out)]
        lines.append(["few.py", "--setting", name, "--shift", shift, *numbers])
    lines += [["found.py", "--setting", name] for name in NAMES]
    for name, (drawn, shift) in CAUSES.items():
        lines.append(["causes.py", "--setting", name, "--faults", str(drawn)])
        lines.append(["causes.py", "--setting", name, "--faults", str(drawn // 2), "--at-once", "2"])
        lines.append(["causes.py", "--setting", name, "--faults", str(drawn // 2), "--after"])
        if shift:
            lines.append(["last.py", "--setting", name, "--shifts", shift])
            lines.append(["mended.py", "--setting", name, "--faults", str(drawn // 2), "--shifts", shift])
    for name in NAMES:
        lines += [["tails.py", "--setting", name], ["stability.py", "--setting", name]]
    return [*lines, ["accuracy.py"], ["sequence.py"], ["scaling.py"]]


def run(line: list[str], data: Path, output: Path) -> int:
    """One step; its output goes to a log of its own."""
    name = output / "logs" / f"{'-'.join(part.lstrip('-').removesuffix('.py') for part in line)}.log"
    name.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(HERE / line[0]), *line[1:], "--data", str(data), "--output", str(output)]
    start = time.monotonic()
    threads = {"OMP_NUM_THREADS": "1", "EVTKIT_NUM_THREADS": "1"}
    with name.open("w") as stream:
        code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=os.environ | threads).returncode
    print(f"{' '.join(line)}: {'done' if code == 0 else f'FAILED, see {name}'} in {time.monotonic() - start:.0f} s",
          flush=True)  # fmt: skip
    return code


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("evidence-output"))
    parser.add_argument("--jobs", type=int, default=1, help="steps at a time")
    parser.add_argument("--only", nargs="*", default=[], help="only steps whose command line holds one of these words")
    options = parser.parse_args()
    chosen = [line for line in steps() if not options.only or any(word in " ".join(line) for word in options.only)]
    with ThreadPoolExecutor(options.jobs) as pool:  # networks are trained before anything needs them
        first = [line for line in chosen if line[0] == "trained.py"]
        codes = list(pool.map(lambda line: run(line, options.data, options.output), first))
        rest = [line for line in chosen if line[0] != "trained.py"]
        codes += pool.map(lambda line: run(line, options.data, options.output), rest)
    if not options.only:
        codes.append(run(["stability.py", "--picture"], options.data, options.output))
    sys.exit(any(codes))
