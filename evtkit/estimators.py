"""Every estimator of the GPD behind `evtkit.fit_gpd`, in one table.

==================  ====================================================================  =============================
name                what it is                                                            source
==================  ====================================================================  =============================
``mle``             the exact maximum of the likelihood over ξ ≥ −1                       Grimshaw (1993)
``pwm``             probability-weighted moments, unbiased                                Hosking & Wallis (1987)
``zhang-stephens``  the likelihood's mean over a data-dependent prior                     Zhang & Stephens (2009)
``moments``         method of moments, variance with n − 1                                Hosking & Wallis (1987)
``spot-script``     the SPOT scripts' fitter with its two mistakes, for comparison only   `evtkit._kernels.spot_script`
==================  ====================================================================  =============================

An estimator is a function ``fit_rows(rows, result, counts)``: for each row of `rows` (channels × width, float64, NaN is
padding) it writes the number of excesses to `counts`, and to `result` the status (−1 where a value is not positive and
finite), ξ, σ, the log-likelihood at (ξ, σ), and the variances of σ and ξ with their covariance, NaN where there are
none. To add one, write its rows function and enter it in `METHODS`.

Only maximum likelihood is certain to agree with its own sample: the moment estimators may put the endpoint −σ/ξ at or
below the largest excess. The log-likelihood is then −inf and the status `FitStatus.NO_SOLUTION`, because such a tail
calls an observed value impossible; ξ and σ are reported all the same. Where every excess is equal, none of them has an
estimate, and all report what maximum likelihood does, with `FitStatus.CONSTANT`.

Examples
--------
>>> from evtkit import fit_gpd, gpd
>>> excesses = gpd.rvs(0.3, 1.0, size=500, rng=0)
>>> for name in METHODS:
...     fit = fit_gpd(excesses, method=name)
...     name, round(float(fit.xi), 3), round(float(fit.loglik), 3)
('mle', 0.261, -709.625)
('pwm', 0.271, -709.652)
('zhang-stephens', 0.267, -709.632)
('moments', 0.306, -709.994)
('spot-script', 0.0, -736.858)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evtkit._kernels import grimshaw, spot_script
from evtkit._kernels.estimates import MOMENTS, PWM, ZHANG_STEPHENS, estimate_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from evtkit._common.types import Float

    FitRows = Callable[[Float, Float, NDArray[np.int64]], None]

__all__ = ["METHODS"]


def _pwm(rows: Float, result: Float, counts: NDArray[np.int64]) -> None:
    estimate_rows(rows, result, counts, PWM)


def _zhang_stephens(rows: Float, result: Float, counts: NDArray[np.int64]) -> None:
    estimate_rows(rows, result, counts, ZHANG_STEPHENS)


def _moments(rows: Float, result: Float, counts: NDArray[np.int64]) -> None:
    estimate_rows(rows, result, counts, MOMENTS)


METHODS: dict[str, FitRows] = {
    "mle": grimshaw.fit_rows,
    "pwm": _pwm,
    "zhang-stephens": _zhang_stephens,
    "moments": _moments,
    "spot-script": spot_script.fit_rows,
}
