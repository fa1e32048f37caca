"""Independent answers: a loop over single samples, and torch.func's vmap of grad, each reduced unit by unit."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def cross_entropy(output, target):
    return functional.cross_entropy(output, target, reduction="none")


def loop_gradients(model, x, y, loss=cross_entropy):
    """One dict of gradients a sample, from ordinary backward passes."""
    parameters = dict(model.named_parameters())
    for i in range(len(y)):
        inputs = tuple(part[i : i + 1] for part in x) if isinstance(x, tuple) else (x[i : i + 1],)
        total = loss(model(*inputs), y[i : i + 1]).sum()
        gradients = torch.autograd.grad(total, parameters.values(), allow_unused=True)
        yield {
            name: torch.zeros_like(p) if g is None else g
            for (name, p), g in zip(parameters.items(), gradients, strict=True)
        }


def vmap_gradients(model, x, y, loss=cross_entropy):
    """The same from torch.func."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def one(parameters, x, y):
        return loss(torch.func.functional_call(model, parameters, (x[None],)), y[None]).sum()

    stacked = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0, 0))(parameters, x, y)
    for i in range(len(y)):
        yield {name: g[i] for name, g in stacked.items()}


def unit_gradients(model, name, index, gradients):
    """Flat gradient of one unit, straight from the definition of its layer's type."""
    module = model.get_submodule(name)
    prefix = f"{name}." if name else ""
    if isinstance(module, nn.MultiheadAttention):
        d, e = module.head_dim, module.embed_dim
        mine = slice(index * d, (index + 1) * d)
        if module.in_proj_weight is not None:
            rows = list(gradients[prefix + "in_proj_weight"].split(e))
        else:
            rows = [gradients[f"{prefix}{part}_proj_weight"] for part in "qkv"]
        parts = [part[mine].flatten() for part in rows]
        return torch.cat([*parts, gradients[prefix + "out_proj.weight"][:, mine].flatten()])
    if hasattr(module, "qkv"):
        d = module.qkv.out_features // (3 * module.num_heads)
        mine = slice(index * d, (index + 1) * d)
        parts = [part[mine].flatten() for part in gradients[prefix + "qkv.weight"].chunk(3)]
        return torch.cat([*parts, gradients[prefix + "proj.weight"][:, mine].flatten()])
    gradient = gradients[prefix + "weight"]
    if isinstance(module, TRANSPOSED):
        outputs = module.out_channels // module.groups
        group, output = divmod(index, outputs)
        inputs = module.in_channels // module.groups
        return gradient[group * inputs : (group + 1) * inputs, output].flatten()
    if isinstance(module, (*CONVOLUTIONS, nn.Linear)):
        return gradient[index].flatten()
    return gradient.flatten()[index : index + 1]


def reduce(model, units, gradients, reduction="taylor"):
    """(batch, units) from per-sample gradients."""

    def each(arrays):
        return [unit_gradients(model, m, i, arrays) for m, i in zip(units.module, units.index.tolist(), strict=True)]

    if reduction == "taylor":
        weights = each({name: p.detach() for name, p in model.named_parameters(remove_duplicate=False)})
        return np.array([[float(g @ w) for g, w in zip(each(s), weights, strict=True)] for s in gradients])
    return np.array([[float(g.abs().mean() if reduction == "mean-abs" else g.norm()) for g in each(s)]
                     for s in gradients])  # fmt: skip


def assert_profile_exact(net, model, x, y, loss=cross_entropy, vmap=True, rtol=1e-10):
    """The profile equals both oracles, as it is, mean absolute and Taylor; relative to each layer's largest entry."""
    got = net.profile(x, y)
    own = net.reduction
    oracles = [loop_gradients(model, x, y, loss)] + ([vmap_gradients(model, x, y, loss)] if vmap else [])
    for gradients in map(list, oracles):
        _assert_close(net, got, reduce(model, net.units, gradients, own), rtol)
        for other in {"mean-abs", "taylor"} - {own}:
            try:
                net.profiler.reduction = other
                _assert_close(net, net.profile(x, y), reduce(model, net.units, gradients, other), rtol)
            finally:
                net.profiler.reduction = own
    return got


def _assert_close(net, got, want, rtol):
    assert np.abs(want).max() > 0
    for name in dict.fromkeys(net.units.module.tolist()):
        here = net.units.module == name
        np.testing.assert_allclose(got[:, here], want[:, here], rtol=rtol, atol=rtol * np.abs(want[:, here]).max())
