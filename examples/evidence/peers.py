"""Peers: other ways to repair a network from the same mistakes and the same right samples, in plain PyTorch.

Each gets the parts that `evtkit.saliency.repair` makes of its samples: two of four mistakes are in the loss, one
chooses; one of three right samples is rehearsed, one sizes the change. Each leaves the network changed; `restored`
brings its weights back.

tuned    Fine-tuning by Adam (Kingma & Ba 2015) of all parameters, the last layer's, or some filters'. The rehearsed
         samples weigh four times as much as the mistakes. Early stopping: of 10 epochs and two learning rates, the
         state that corrects most of the mistakes that choose, among those that lose at most the budget.
arachne  After Sohn, Kang & Yoo (2022): the last layer's weights whose gradient and whose share in the output are large
         for the mistakes and small for right samples (a Pareto front), set by particle swarms whose fitness counts
         mistakes corrected and right samples kept, with the loss for what is still wrong.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[Tensor, np.ndarray]

_EPOCHS, _RATES, _BATCH = 10, (1e-3, 1e-4), 50
_PARTICLES, _ROUNDS = 40, 60


@contextmanager
def restored(network: nn.Module) -> Iterator[None]:
    """Context after which the weights are what they were."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    asked = [p.requires_grad for p in network.parameters()]
    try:
        yield
    finally:
        network.load_state_dict(before)
        for p, was in zip(network.parameters(), asked, strict=True):
            p.requires_grad_(was)


def parts(own: Pair, keep: Pair) -> tuple[Pair, Pair, Pair, Pair]:
    """Mistakes that teach and that choose; right samples that are rehearsed and that size the change."""

    def every(pair: Pair, period: int, turns: tuple[int, ...]) -> Pair:
        rows = np.flatnonzero(np.isin(np.arange(len(pair[1])) % period, turns))
        return pair[0][rows], pair[1][rows]

    return every(own, 4, (0, 2)), every(own, 4, (1,)), every(keep, 4, (0,)), every(keep, 4, (1, 3))


@torch.no_grad()
def right(network: nn.Module, pair: Pair, batch: int = 100) -> float:
    """Share of the samples that the network gets right."""
    x, y = pair
    return float(np.mean(np.concatenate([network(part).argmax(1).numpy() for part in x.split(batch)]) == y))


def tuned(
    network: nn.Module, own: Pair, keep: Pair, budget: float, masks: dict[str, Tensor] | None = None
) -> None:  # fmt: skip
    """Fine-tune the parameters of which `masks` has one, where it is 1; all without it."""
    learn, choose, rehearse, size = parts(own, keep)
    named = dict(network.named_parameters())
    some = list(named) if masks is None else list(masks)
    for name, parameter in named.items():
        parameter.requires_grad_(name in some)
    start = {name: named[name].detach().clone() for name in some}
    best, kept = (0.0, 0.0), start
    for rate in _RATES:
        _write(named, start)
        optimiser = torch.optim.Adam([named[name] for name in some], lr=rate)
        generator = torch.Generator().manual_seed(0)
        for _ in range(_EPOCHS):
            for rows in torch.randperm(len(rehearse[1]), generator=generator).split(_BATCH):
                optimiser.zero_grad()
                logits = network(torch.cat([learn[0], rehearse[0][rows]]))
                n = len(learn[1])
                wrong = functional.cross_entropy(logits[:n], torch.from_numpy(learn[1]))
                others = functional.cross_entropy(logits[n:], torch.from_numpy(rehearse[1][rows]))
                (wrong + 4.0 * others).backward()
                for name in masks or ():
                    named[name].grad *= masks[name]  # type: ignore[index]
                optimiser.step()
            lost = 1.0 - right(network, size)
            key = (0.5 * right(network, learn) + 0.5 * right(network, choose), -lost)
            if lost <= budget and key > best:
                best, kept = key, {name: named[name].detach().clone() for name in some}
            if lost > 5.0 * budget and key[0] == 1.0:
                break
    _write(named, kept)


def last_layer(network: nn.Module) -> tuple[str, nn.Linear]:
    """Name and module of the last linear layer."""
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]


def arachne(network: nn.Module, own: Pair, keep: Pair, seed: int = 0) -> None:
    """Search for values of the last layer's weights at fault, by particle swarms."""
    learn, _, rehearse, _ = parts(own, keep)
    _, layer = last_layer(network)
    bad, good = (features(network, layer, pair[0]) for pair in (learn, rehearse))
    weight, bias = (p.detach().clone().double() for p in (layer.weight, layer.bias))
    labels = [torch.from_numpy(pair[1]) for pair in (learn, rehearse)]
    place = _localised(weight, bias, [bad, good], labels)
    rng = torch.Generator().manual_seed(seed)
    others = weight.flatten()
    now = others.mean() + others.std() * torch.randn(_PARTICLES, len(place), generator=rng, dtype=torch.float64)
    now[0] = others[place]
    speed = torch.zeros_like(now)

    def fitness(values: Tensor) -> Tensor:
        whole = others.repeat(len(values), 1)
        whole[:, place] = values
        whole = whole.view(-1, *weight.shape)
        out = torch.zeros(len(values), dtype=torch.float64)
        for features, truth, share in ((bad, labels[0], len(labels[1]) / len(labels[0])), (good, labels[1], 1.0)):
            logits = torch.einsum("nf,pcf->pnc", features, whole) + bias
            loss = functional.cross_entropy(logits.flatten(0, 1), truth.repeat(len(values)), reduction="none")
            correct = logits.argmax(2) == truth
            out += share * torch.where(correct, torch.ones(()).double(), 1.0 / (1.0 + loss.view(len(values), -1))).sum(
                1
            )
        return out

    own_best, score = now.clone(), fitness(now)
    for _ in range(_ROUNDS):
        lead = own_best[score.argmax()]
        draws = torch.rand(2, *now.shape, generator=rng, dtype=torch.float64)
        speed = 0.72 * speed + 1.49 * (draws[0] * (own_best - now) + draws[1] * (lead - now))
        now = now + speed
        new = fitness(now)
        better = new > score
        own_best[better], score[better] = now[better], new[better]
    others[place] = own_best[score.argmax()]
    with torch.no_grad():
        layer.weight.copy_(others.view(weight.shape))


def _localised(weight: Tensor, bias: Tensor, features: list[Tensor], labels: list[Tensor]) -> Tensor:
    """Flat places of the weights on the Pareto front of gradient and share in the output, mistakes over right ones."""
    costs = []
    for x, y in zip(features, labels, strict=True):
        slope = torch.softmax(x @ weight.T + bias, 1)
        slope[torch.arange(len(y)), y] -= 1.0
        gradient = (slope.T @ x / len(y)).abs()
        shares = (x.abs()[:, None] * weight.abs()).mean(0)
        costs.append((gradient.flatten(), (shares / shares.sum(1, keepdim=True)).flatten() * slope.abs().mean(0)
                      .repeat_interleave(x.shape[1])))  # fmt: skip
    cost = torch.stack([bad / (1e-12 + good.mean() + good) for bad, good in zip(*costs, strict=True)], 1)
    chosen = torch.zeros(len(cost), dtype=torch.bool)
    most = cost.sort(0, descending=True).indices[: 20 * len(labels[0])].flatten().unique()
    for i in most.tolist():
        chosen[i] = not bool(((cost[most] >= cost[i]).all(1) & (cost[most] > cost[i]).any(1)).any())
    return torch.nonzero(chosen).flatten()


@torch.no_grad()
def features(network: nn.Module, layer: nn.Linear, x: Tensor) -> Tensor:
    """What enters the last layer."""
    kept: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].detach().double()))
    try:
        for part in x.split(100):
            network(part)
    finally:
        hook.remove()
    return torch.cat(kept)


def _write(named: dict[str, Any], values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in values.items():
            named[name].copy_(value)
