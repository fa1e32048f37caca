"""How far rounding may take a network's result: bounds that follow from the arithmetic, not from one machine's.

Another processor, library, thread count or memory layout adds the same terms in another order. So no test asks for the
last bits of a network's output, nor for a literal that one machine happened to keep.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager

import numpy as np


def assert_close(got, want, terms):
    """Equal but for rounding, relative to the largest: terms · eps, the first-order bound of Higham (2002, §3.1).

    `terms` counts the additions on the longest way from input to result, of all layers together. All their roundings
    would have to go one way to reach the bound.
    """
    got, want = np.asarray(got), np.asarray(want)
    eps = max(np.finfo(got.dtype).eps, np.finfo(want.dtype).eps)
    np.testing.assert_allclose(
        got, want, rtol=0.0, atol=terms * eps * np.abs(want).max(), strict=got.dtype == want.dtype
    )


def additions(*shapes):
    """Terms of the sums that weights of these shapes take part in, forwards and back, and of an update of each."""
    return 2 * sum(int(np.prod(shape)) // max(1, min(s for s in shape)) for shape in shapes)


@contextmanager
def imitated(model, eps, seed=0):
    """Within it a float64 PyTorch network computes as if rounding to `eps`, in a way that no machine decides.

    A convolution, linear layer or batch norm sums products; rounding errors of a sum amount to about eps · Σ|terms|. So
    each output is displaced at random by as much. What becomes of it further on (a ReLU that switches, sums that
    cancel) is the network's own doing.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(seed)

    def displace(module, inputs, output):
        with torch.no_grad():
            (x,) = inputs
            if isinstance(module, nn.BatchNorm2d):
                slope = module.weight / (module.running_var + module.eps).sqrt()
                shift = module.bias - module.running_mean * slope
                size = (x * slope[:, None, None]).abs() + shift.abs()[:, None, None]
            else:
                sizes = {name: parameter.abs() for name, parameter in module.named_parameters()}
                size = torch.func.functional_call(twins[module], sizes, (x.abs(),))
            noise = torch.randn(output.shape, dtype=output.dtype, generator=generator)
        return output + eps * size * noise

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]
    twins = {layer: copy.deepcopy(layer) for layer in layers}
    hooks = [layer.register_forward_hook(displace) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def lost(model, profile, dtype="float32"):
    """The length by which rounding to `dtype` may move `profile()` of a float64 PyTorch network.

    Twice what the imitated rounding of the pass forwards does: the pass back has as many sums.
    """
    exact = profile()
    with imitated(model, np.finfo(dtype).eps):
        return 2.0 * np.linalg.norm(profile() - exact)
