"""Every estimator of the GPD behind `evtkit.fit_gpd`, in one table."""

from __future__ import annotations

from evtkit.grimshaw import fit_rows

METHODS = {"mle": fit_rows}
