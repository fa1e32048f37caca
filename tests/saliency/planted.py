"""A toy network with planted faults, and labelled samples of it."""

import numpy as np

from evtkit.saliency.toy import Toy

KINDS = ("noise", "flip", "scale", "zero", "stuck")


def made():
    return Toy(hidden=24, classes=6, dead=0, seed=3, reduction="taylor")


def labelled(n, seed, noise=0.1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6))
    y = made().predict(x).argmax(axis=1)
    return x, np.where(rng.random(n) < noise, rng.integers(6, size=n), y)


def damaged(weights, kind, rng):
    if kind == "noise":
        return weights + 3.0 * np.sqrt(np.mean(weights**2)) * rng.standard_normal(weights.shape)
    if kind == "stuck":
        return np.full_like(weights, np.abs(weights).max())
    return {"flip": -1.0, "scale": 5.0, "zero": 0.0}[kind] * weights


def faulty(unit, kind, n=10):
    """A network with a fault, and n samples that it gets wrong because of that."""
    net = made()
    net.rows[unit][:] = damaged(net.rows[unit].copy(), kind, np.random.default_rng(unit))
    x, y = labelled(600, seed=9, noise=0.0)
    wrong = np.flatnonzero(net.predict(x).argmax(axis=1) != y)[:n]
    return net, x[wrong], y[wrong]
