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

if TYPE_CHECKING:
    from collections.abc import Callable

    from evtkit._common.types import Float, Int

    FitRows = Callable[[Float, Float, Int], None]

__all__ = ["METHODS"]

# Kernels are loaded when they are called: an estimator that is not asked for costs nothing.


def _mle(rows: Float, result: Float, counts: Int) -> None:
    from evtkit._kernels.grimshaw import fit_rows

    fit_rows(rows, result, counts)


def _pwm(rows: Float, result: Float, counts: Int) -> None:
    from evtkit._kernels.pwm import fit_rows

    fit_rows(rows, result, counts)


def _zhang_stephens(rows: Float, result: Float, counts: Int) -> None:
    from evtkit._kernels.zhang_stephens import fit_rows

    fit_rows(rows, result, counts)


def _moments(rows: Float, result: Float, counts: Int) -> None:
    from evtkit._kernels.moments import fit_rows

    fit_rows(rows, result, counts)


def _spot_script(rows: Float, result: Float, counts: Int) -> None:
    from evtkit._kernels.spot_script import fit_rows

    fit_rows(rows, result, counts)


METHODS: dict[str, FitRows] = {
    "mle": _mle,
    "pwm": _pwm,
    "zhang-stephens": _zhang_stephens,
    "moments": _moments,
    "spot-script": _spot_script,
}
