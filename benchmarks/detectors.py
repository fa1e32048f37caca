"""Outlier detectors: the realised rate of false alarms, speed, and what is found, beside scikit-learn's and PyOD's.

    python benchmarks/detectors.py
    python benchmarks/detectors.py --only found calibrated

Four tables. How often PotDetector flags a normal row, divided by the risk asked for, and CalibratedDetector. Time of a
fit and of scoring a million rows beside IsolationForest, in one process. ROC-AUC and average precision where one class
of a data set that scikit-learn ships is made rare, every detector at its defaults and trained on half of the rows,
outliers included; and CalibratedDetector beside the detectors that it wraps.
"""

from __future__ import annotations

import argparse
import warnings
from typing import TYPE_CHECKING

import numpy as np
from _timing import best_times, machine
from pyod.models.copod import COPOD
from pyod.models.ecod import ECOD
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler

from evtkit import fit_tail
from evtkit.interop.sklearn import CalibratedDetector, NeighborDistance, PotDetector

if TYPE_CHECKING:
    from collections.abc import Sequence

FEATURES = 10
RISKS = (0.05, 0.01, 0.001)
SEEDS = 20


def normal(rng, n):
    return rng.standard_normal((n, FEATURES))


def dependent(rng, n):
    return np.sqrt(0.95) * rng.standard_normal((n, 1)) + np.sqrt(0.05) * rng.standard_normal((n, FEATURES))


def t_copula(rng, n):
    return rng.standard_normal((n, FEATURES)) / np.sqrt(rng.chisquare(3.0, size=(n, 1)) / 3.0)


ROWS = {
    "normal": normal,
    "normal, correlation 0.95": dependent,
    "multivariate t, 3 degrees": t_copula,
    "Student t, 4 degrees": lambda rng, n: rng.standard_t(4.0, size=(n, FEATURES)),
    "gamma": lambda rng, n: rng.gamma(2.0, size=(n, FEATURES)),
    "uniform": lambda rng, n: rng.random((n, FEATURES)),
    "Poisson counts": lambda rng, n: rng.poisson(3.0, size=(n, FEATURES)).astype(float),
}


def plug_in(rows, new):
    """log p with the estimates taken for the truth, as `Tail.logsf` has it, by Bonferroni's rule."""
    least = np.full(len(new), 0.0)
    for side in ("upper", "lower"):
        log_sf = fit_tail(rows, quantile=0.9, side=side, resolution=0).logsf(new, law="plug-in")
        least = np.minimum(least, np.nan_to_num(log_sf, nan=0.0).min(axis=1))
    return np.minimum(0.0, least + np.log(2 * FEATURES))


def false_alarms(repetitions: int = 50) -> None:
    print("False alarms, divided by the risk; standard error in brackets; after the stroke with estimates as the truth")
    print(f"{'rows':28s}{'n':>6s}  " + "".join(f"{f'risk {risk:g}':>24s}" for risk in RISKS))
    for name, draw in ROWS.items():
        for n in (200, 1000, 5000):
            rates = np.empty((repetitions, 2, len(RISKS)))
            for seed in range(repetitions):
                rng = np.random.default_rng(seed)
                rows, new = draw(rng, n), draw(rng, 10_000)
                for i, score in enumerate((PotDetector().fit(rows).score_samples(new), plug_in(rows, new))):
                    rates[seed, i] = [(score < np.log(risk)).mean() / risk for risk in RISKS]
            mean, error = rates.mean(axis=0), rates.std(axis=0) / repetitions**0.5
            cells = (
                f"{f'{a:.2f} ({e:.2f}) / {b:.2f}':>24s}" for a, e, b in zip(mean[0], error[0], mean[1], strict=True)
            )
            print(f"{name:28s}{n:6d}  " + "".join(cells), flush=True)


def false_alarms_calibrated() -> None:
    print("\nCalibratedDetector, four features: false alarms, divided by the risk; standard error in brackets")
    print(f"{'rows':28s}{'n':>6s}  " + "".join(f"{f'risk {risk:g}':>24s}" for risk in RISKS))
    for name, draw in ROWS.items():
        for n, repetitions in ((200, 60), (1000, 25), (5000, 5)):
            rates = np.empty((repetitions, len(RISKS)))
            for seed in range(repetitions):
                rng = np.random.default_rng(seed)
                score = CalibratedDetector().fit(draw(rng, n)[:, :4]).score_samples(draw(rng, 4000)[:, :4])
                rates[seed] = [(score < np.log(risk)).mean() / risk for risk in RISKS]
            mean, error = rates.mean(axis=0), rates.std(axis=0) / repetitions**0.5
            cells = (f"{f'{a:.2f} ({e:.2f})':>24s}" for a, e in zip(mean, error, strict=True))
            print(f"{name:28s}{n:6d}  " + "".join(cells), flush=True)


def speed() -> None:
    rows = np.random.default_rng(0).standard_normal((1_000_000, FEATURES))
    pot, forest = PotDetector(), IsolationForest(random_state=0, n_jobs=-1)
    fits = best_times({"evtkit": lambda: pot.fit(rows), "forest": lambda: forest.fit(rows)}, rounds=2)
    scores = best_times(
        {"evtkit": lambda: pot.score_samples(rows), "forest": lambda: forest.score_samples(rows)}, rounds=2
    )
    print("\nA million rows of ten features, all processors: IsolationForest's time divided by PotDetector's")
    print(f"fit {fits['forest'] / fits['evtkit']:.1f}, score_samples {scores['forest'] / scores['evtkit']:.1f}")
    print(f"({scores['evtkit'] / rows.size * 1e9:.0f} ns a value in score_samples)")


TASKS = {
    "breast_cancer: malignant": (load_breast_cancer, 0, 0.1),
    "wine: class 0": (load_wine, 0, 0.1),
    "wine: class 1": (load_wine, 1, 0.1),
    "wine: class 2": (load_wine, 2, 0.1),
    "iris: virginica": (load_iris, 2, 0.1),
    **{f"digits: {digit}": (load_digits, digit, 0.02) for digit in range(10)},
}


def detectors(seed: int):
    return {
        "Calibrated": CalibratedDetector(),
        "… its distances": NeighborDistance(),
        "IsolationForest": IsolationForest(random_state=seed),
        "PotDetector": PotDetector(),
        "… geometric": PotDetector(combine="geometric"),
        "… longer side": PotDetector(side="longer", combine="geometric"),
        "LocalOutlierFactor": LocalOutlierFactor(novelty=True),
        "LOF, calibrated": CalibratedDetector(LocalOutlierFactor(novelty=True)),
        "ECOD": ECOD(),
        "COPOD": COPOD(),
    }


def found(seeds: int = SEEDS, names: Sequence[str] = ()) -> None:
    print(f"\nROC-AUC / average precision, means over {seeds} choices of the rare rows and halves")
    names = [name for name in detectors(0) if not names or name in names]
    print(f"{'rare class':26s}{'rows':>6s}{'rare':>6s}" + "".join(f"{name:>20s}" for name in names))
    table = []
    for task, (load, rare, share) in TASKS.items():
        x, y = load(return_X_y=True)
        results = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            usual, unusual = np.flatnonzero(y != rare), np.flatnonzero(y == rare)
            count = max(4, round(share * usual.size))
            chosen = rng.permutation(
                np.concatenate([usual, rng.choice(unusual, min(count, unusual.size), replace=False)])
            )
            halves = chosen[::2], chosen[1::2]
            if min((y[half] == rare).sum() for half in halves) == 0:
                continue
            scaler = StandardScaler().fit(x[halves[0]])
            train, test = (scaler.transform(x[half]) for half in halves)
            outlier = y[halves[1]] == rare
            row = []
            for name in names:
                detector = detectors(seed)[name]
                sign = 1.0 if name in ("ECOD", "COPOD") else -1.0
                fitted = detector.fit(train)
                how = fitted.score_samples if name == "… its distances" else fitted.decision_function
                score = sign * how(test)
                row.append((roc_auc_score(outlier, score), average_precision_score(outlier, score)))
            results.append(row)
        mean = np.mean(results, axis=0)
        table.append(mean)
        cells = "".join(f"{f'{auc:.2f} / {ap:.2f}':>20s}" for auc, ap in mean)
        print(f"{task:26s}{chosen.size:6d}{count:6d}{cells}", flush=True)
    cells = "".join(f"{f'{auc:.2f} / {ap:.2f}':>20s}" for auc, ap in np.mean(table, axis=0))
    print(f"{'mean':38s}{cells}")


TABLES = {"found": found, "calibrated": false_alarms_calibrated, "speed": speed, "pot": false_alarms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(TABLES), default=list(TABLES), help="tables to make")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="choices of rare rows, of what is found")
    parser.add_argument("--detectors", nargs="*", choices=list(detectors(0)), default=(), help="of that table; all")
    options = parser.parse_args()
    print(machine(), "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant pixels, elsewhere
        for name in options.only:
            found(options.seeds, options.detectors) if name == "found" else TABLES[name]()


if __name__ == "__main__":
    main()
