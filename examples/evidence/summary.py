"""Summary: the tables and pictures of the documentation, from what the other scripts wrote.

    python examples/evidence/summary.py --output DIR --docs docs

Tables go to docs/tables/evidence-*.csv, pictures to docs/_static/evidence-*.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from summary_causes import causes, mended
from summary_faults import faults
from summary_last import last
from summary_repair import repairs
from summary_tails import tails

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("evidence-output"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    options = parser.parse_args()
    for part in (faults, repairs, causes, mended, last, tails):
        part(options.output, options.docs)
