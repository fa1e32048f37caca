"""The check itself: look for samples on which an estimator breaks a law, and shrink them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import Flaky

from evtkit._common.results import Result
from evtkit.testing.laws import (
    LAWS,
    Broken,
    Estimator,
    channels_are_independent,
    maximum_likelihood,
    padding_is_absence,
    support_contains_data,
    threads_do_not_matter,
)
from evtkit.testing.samples import ragged, samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Law = Callable[[Estimator, NDArray[np.float64]], None]

__all__ = ["BrokenLawError", "EstimatorReport", "LawResult", "check_gpd_estimator"]

_MATRICES = (padding_is_absence, channels_are_independent, threads_do_not_matter)


@dataclass(frozen=True, eq=False)
class LawResult:
    """How an estimator fared under one law.

    Attributes
    ----------
    law : str
        Name of the law.
    statement : str
        The law in a sentence.
    passed : bool or None
        None where the law does not apply to this estimator.
    message : str
        What went wrong, or why the law does not apply.
    sample : ndarray of float64 or None
        The simplest sample found that breaks the law.
    """

    law: str
    statement: str
    passed: bool | None
    message: str = ""
    sample: NDArray[np.float64] | None = None

    def __str__(self) -> str:
        verdict = {True: "holds", False: "BROKEN", None: "not applicable"}[self.passed]
        text = f"{self.law}: {verdict}" + (f". {self.message}" if self.message else "")
        return text if self.sample is None else f"{text}\n    excesses = {self.sample.tolist()}"


@dataclass(frozen=True, eq=False, repr=False)
class EstimatorReport(Result):
    """How an estimator fared under every law; printed, a line a law.

    Attributes
    ----------
    results : tuple of LawResult

    Examples
    --------
    >>> from evtkit.testing import check_gpd_estimator
    >>> report = check_gpd_estimator(lambda y: (0.1, 1.0), max_examples=5, raise_on_failure=False)
    >>> report.passed
    False
    """

    results: tuple[LawResult, ...]

    @property
    def passed(self) -> bool:
        """Whether no law was broken."""
        return not self.failures

    @property
    def failures(self) -> tuple[LawResult, ...]:
        """The laws that were broken."""
        return tuple(result for result in self.results if result.passed is False)

    def _table(self) -> dict[str, Any]:
        """A row a law."""
        verdict = {True: "holds", False: "BROKEN", None: "not applicable"}
        return {
            "law": np.array([result.law for result in self.results]),
            "verdict": np.array([verdict[result.passed] for result in self.results]),
            "message": np.array([result.message for result in self.results]),
        }

    def _head(self) -> str:
        return f"EstimatorReport({len(self.results)} laws, {len(self.failures)} broken)"

    def __str__(self) -> str:
        return "\n".join(map(str, self.results))


class BrokenLawError(AssertionError):
    """An estimator breaks a law; `report` says which, and on which sample.

    Examples
    --------
    >>> from evtkit.testing import BrokenLawError, check_gpd_estimator
    >>> try:
    ...     check_gpd_estimator(lambda y: (0.1, 1.0), max_examples=5)
    ... except BrokenLawError as error:
    ...     print(error.report.passed)
    False
    """

    def __init__(self, report: EstimatorReport) -> None:
        super().__init__("\n" + "\n".join(map(str, report.failures)))
        self.report = report


def check_gpd_estimator(
    fit: Callable[..., Any],
    *,
    is_maximum_likelihood: bool = True,
    tolerance: float = 1e-7,
    max_examples: int = 200,
    random_seed: int = 0,
    raise_on_failure: bool = True,
) -> EstimatorReport:
    """Look for samples on which an estimator breaks a law, and shrink them.

    Parameters
    ----------
    fit : callable
        From excesses, (n,) float64, to ``(xi, sigma)`` or an object with ``xi``, ``sigma`` and, where it has one,
        ``status`` (0 and 1 are fits, anything above is not; see `evtkit.FitStatus`). A ValueError counts as a status.
        The laws on channels and padding apply where `fit` takes a matrix and answers for every column, the law on
        threads where it has a parameter ``n_threads`` as well.
    is_maximum_likelihood : bool
        Whether the estimator claims to maximise the likelihood over ξ ≥ −1. Others are not compared with brute force,
        and may put their endpoint below the data if they say so by a status.
    tolerance : float
        Of ξ (relative to ``1 + |ξ|``) and of σ (relative) where a law says that two answers are the same.
    max_examples : int
        Samples a law.
    random_seed : int
        Seed of the search, which is the same each time that the same modules are loaded.
    raise_on_failure : bool
        Raise at the end if a law is broken; otherwise only report.

    Returns
    -------
    EstimatorReport

    Raises
    ------
    BrokenLawError
        An AssertionError with the report, where a law is broken and `raise_on_failure`.

    Examples
    --------
    >>> from evtkit import fit_gpd
    >>> from evtkit.testing import check_gpd_estimator
    >>> report = check_gpd_estimator(lambda y: (fit_gpd(y).xi, fit_gpd(y).sigma), max_examples=5)
    >>> report.passed
    True
    """
    estimator = Estimator(fit, tolerance)
    results = []
    for law in LAWS:
        statement = (law.__doc__ or "").strip().splitlines()[0]
        reason = _not_applicable(law, estimator, is_maximum_likelihood)
        broken = None if reason else _search(law, estimator, max_examples, random_seed)
        if reason:
            results.append(LawResult(law.__name__, statement, None, reason))
        elif broken is None:
            results.append(LawResult(law.__name__, statement, True))
        else:
            results.append(LawResult(law.__name__, statement, False, str(broken), broken.sample))
    report = EstimatorReport(tuple(results))
    if raise_on_failure and not report.passed:
        raise BrokenLawError(report)
    return report


def _not_applicable(law: Law, estimator: Estimator, is_maximum_likelihood: bool) -> str:
    if law in _MATRICES and not estimator.has_channels:
        return "takes one channel"
    if law is threads_do_not_matter and not estimator.has_threads:
        return "has no n_threads"
    if law is maximum_likelihood and not is_maximum_likelihood:
        return "does not claim maximum likelihood"
    if law is support_contains_data and not is_maximum_likelihood and not estimator.has_status:
        return "claims neither maximum likelihood nor a status"
    return ""


def _search(law: Law, estimator: Estimator, max_examples: int, random_seed: int) -> Broken | None:
    """The simplest sample found that breaks the law."""
    found: list[Broken] = []

    @seed(random_seed)
    @settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(ragged() if law in _MATRICES else samples())
    def obeys(sample: NDArray[np.float64]) -> None:
        try:
            law(estimator, sample)
        except Broken as broken:
            found.append(broken)
            raise

    try:
        obeys()
    except (Broken, Flaky):  # an estimator that draws at random may not fail twice
        return found[-1]
    return None
