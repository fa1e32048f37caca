"""Levels of counts and rounded data: never exceeded much more often than stated, nor far too seldom."""

import numpy as np
import pytest
from scipy import stats

from evtkit import fit_tail

COUNTS = {
    "Poisson (0.5)": stats.poisson(0.5),
    "Poisson (3)": stats.poisson(3.0),
    "Poisson (20)": stats.poisson(20.0),
    "binomial (20, 0.2)": stats.binom(20, 0.2),
    "binomial (100, 0.03)": stats.binom(100, 0.03),
    "geometric (0.3)": stats.geom(0.3),
    "negative binomial (2, 0.3)": stats.nbinom(2, 0.3),
}
ROUNDED = {
    f"{name}, rounded to {step}": (of, step)
    for name, of, steps in (
        ("normal", stats.norm(), (1.0, 0.5, 0.25)),
        ("exponential", stats.expon(), (1.0, 0.5)),
        ("gamma (2)", stats.gamma(2.0), (1.0, 0.5)),
        ("lognormal", stats.lognorm(1.0), (1.0, 0.25)),
        ("t (4)", stats.t(4), (1.0, 0.5)),
    )
    for step in steps
}
LATTICES = {name: (of, of.sf, 1.0) for name, of in COUNTS.items()} | {
    name: (of, lambda x, of=of, step=step: of.sf((np.floor(x / step + 1e-9) + 0.5) * step), step)
    for name, (of, step) in ROUNDED.items()
}


@pytest.mark.parametrize("name", LATTICES)
@pytest.mark.parametrize(("n", "risk"), [(200, 0.01), (1000, 0.01), (1000, 0.001)])
def test_a_level_of_a_lattice_is_exceeded_about_as_often_as_stated_or_more_seldom(name, n, risk):
    of, beyond, step = LATTICES[name]
    x = of.ppf(np.random.default_rng(7).random((n, 120)))
    x = x if name in COUNTS else np.round(x / step) * step
    realised = float(np.mean(beyond(fit_tail(x, keep_sample=False).isf(risk))))
    levels = beyond(step * np.arange(-200, 1000))
    assert realised <= 1.5 * risk
    assert realised >= 0.25 * levels[levels <= risk].max()
