"""The recipe for Spark, as docs/clusters.rst has it, gives the tails of each key alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyspark")

DOCS = Path(__file__).parents[2] / "docs" / "clusters.rst"

BEFORE = """
import numpy as np, pandas as pd
from pyspark.sql import SparkSession

local = {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
spark = SparkSession.builder.master("local[2]").config(map=local).getOrCreate()
x = np.random.default_rng(0).standard_t(4, 4300)
long = pd.DataFrame({"sensor": np.repeat(["a", "b", "c"], [3000, 900, 400]), "value": x}).sample(frac=1, random_state=1)
table = spark.createDataFrame(long).repartition(5)
"""

AFTER = """
from evtkit import fit_tail

assert tail.names.tolist() == ["a", "b", "c"]
for i, name in enumerate("abc"):
    one = fit_tail(long.value[long.sensor == name].to_numpy(), quantile=0.95)
    assert (one.xi, one.sigma, one.mean, one.std) == (tail.xi[i], tail.sigma[i], tail.mean[i], tail.std[i])
spark.stop()
print("equal")
"""


def listing() -> str:
    lines = DOCS.read_text(encoding="utf-8").partition("\nSpark\n")[2].partition("code-block:: python\n")[2].split("\n")
    code = []
    for line in lines:
        if line and not line.startswith("   "):
            break
        code.append(line[3:])
    return "\n".join(code)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
def test_the_recipe_equals_a_fit_of_each_key():
    code = BEFORE + listing() + AFTER
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYSPARK_PYTHON": sys.executable},
                          capture_output=True, text=True, timeout=550)  # fmt: skip
    assert done.stdout.strip().endswith("equal"), done.stderr[-2000:]
