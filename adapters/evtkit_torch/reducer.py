"""Reducer: from the uses of a weight that a backward pass delivers to sums, one a sample and unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from evtkit.saliency.adapting import Due
from evtkit_torch.products import channel_products, row_products
from evtkit_torch.reduce import lane_sums
from evtkit_torch.rows import AXIS, FOLDED, SCATTERED, Layout, MixedError, find_layout, measure
from evtkit_torch.rules import NoRuleError, Use

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evtkit.saliency.adapting import Batch, Lanes
    from evtkit_torch.capture import Call

__all__ = ["Layouts", "Reducer"]


@dataclass(eq=False)
class Place(Due):
    """What is known for batches of one shape: the layout at every use of a weight."""

    known: dict[tuple[str, int, tuple[int, ...]], Layout] = field(default_factory=dict)


@dataclass(eq=False)
class Layouts:
    """A `Place` for every shape of a batch."""

    places: dict[tuple[Any, ...], Place] = field(default_factory=dict)

    def at(self, batch: Batch) -> Place:
        """What is known for batches of this shape."""
        shapes: list[Any] = [batch.size]
        batch.map(lambda x: shapes.append((tuple(x.shape), x.dtype)) or x)  # type: ignore[func-returns-value]
        return self.places.setdefault(tuple(shapes), Place())


class Reducer:
    """Adds up lanes to units as the backward pass delivers them.

    Parameters
    ----------
    profiler : evtkit_torch.profiles.TorchProfiler
        For what.
    samples : int
        In the batch.
    parameters : mapping of str to Parameter
        The network's.
    place : Place
        What is known of the batch's layout.

    Attributes
    ----------
    weights : list of Tensor
        What the losses were weighted with, if each use's gradient was measured first.
    again : bool
        Whether something has come to light because of which the batch must be profiled anew.
    error : Exception or None
        What a rule has raised.
    """

    def __init__(self, profiler: Any, samples: int, parameters: Mapping[str, Tensor], place: Place) -> None:
        self.weights: list[Tensor] = []
        self.again = False
        self.error: Exception | None = None
        self._profiler = profiler
        self._samples = samples
        self._parameters = parameters
        self._place = place
        some = next(iter(parameters.values()))
        wide = any(parameters[name].dtype == torch.float64 for name in profiler.plan.parameters)
        dtype = torch.float64 if wide else torch.float32  # of `Profiler.dtype`, without a look at every module
        self._zeros = torch.zeros(samples, 1, dtype=dtype, device=some.device)
        self._found: dict[tuple[int, int], tuple[Tensor, Tensor | None]] = {}  # by units, from … to
        self._slopes: dict[tuple[int, int], Tensor] = {}  # with which some of them are still to be multiplied

    @cached_property
    def _narrowest(self) -> torch.dtype:
        dtype: torch.dtype = self._profiler.narrowest
        return dtype

    def take(self, name: str, calls: Sequence[Call]) -> None:
        """Reduce uses of one weight whose gradients have arrived."""
        try:
            self._take(name, calls)
        except Exception as error:  # of a rule, perhaps a user's
            self.error = error
            raise

    def _take(self, name: str, calls: Sequence[Call]) -> None:
        if self.again:
            return
        uses = []
        for call in calls:
            try:
                layout = self._layout(call)
            except MixedError:
                self._give_up(name, "a row of its output belongs to several samples")
                return
            if layout is not None:
                uses.append(_Rows(call, layout, self._samples))
        if not uses or self.again:
            return
        for lanes in self._profiler.plan.lanes_of[name]:
            self._reduce(lanes, uses)

    def _give_up(self, name: str, reason: str) -> None:
        self._profiler.slow[name] = reason
        self.again = True

    def _layout(self, call: Call) -> Layout | None:
        """Where a use has its samples; None where its gradient is zero."""
        g = call.gradient
        assert g is not None
        if self._samples == 1:
            return Layout(FOLDED)
        key = (call.parameter, call.number, tuple(g.shape))
        if self.weights:
            if len(call.measures) != len(self.weights):
                raise MixedError
            layout = find_layout(measure(g, call.leading), call.measures, self.weights, self._narrowest)
            if layout is not None and layout.settled:
                self._place.known[key] = layout
            elif layout is not None:
                self._place.unsettled = True
            return layout
        layout = self._place.known.get(key)
        if layout is None and bool((g != 0).any()):
            self._place.unsettled = self.again = True
        return layout

    def _reduce(self, lanes: Lanes, uses: Sequence[_Rows]) -> None:
        rest = []
        for rows in uses:
            found = self._by_output(rows, lanes) if rows.outputs else None
            if found is None:
                rows.come_to_output()
                rest.append(rows)
            else:
                self._add(lanes, *found)
        if not rest:
            return
        if any(rows.call.input._version != rows.call.version for rows in rest):
            raise RuntimeError(  # as autograd would, for it wants the input as well
                f"the input of {lanes.parameter} must be unchanged until the backward pass, got it changed in place "
                "after its use: its gradient would be wrong"
            )
        try:
            sums = self._by_rule(rest, lanes)
        except NoRuleError:
            self._give_up(lanes.parameter, f"has no faster rule for {self._profiler.reduction!r}")
            return
        self._add(lanes, sums)

    def _add(self, lanes: Lanes, sums: Tensor, sizes: Tensor | None = None, slope: Tensor | None = None) -> None:
        """Add lanes to their units, later; with a slope, multiplied with it."""
        some, share = self._profiler.units_of(lanes, self._zeros)
        place = some.start, some.stop
        if slope is not None and (share is not None or place in self._found):
            sums, sizes = _times(slope, sums, sizes)
            slope = None
        if share is not None:
            sums = sums.to(share) @ share
            sizes = None if sizes is None else sizes.to(share) @ share
        if place in self._found:
            self._finish(place)
            before = self._found[place]
            sums = sums + before[0]
            sizes = before[1] if sizes is None else sizes if before[1] is None else sizes + before[1]
        self._found[place] = sums, sizes
        if slope is not None:
            self._slopes[place] = slope

    def _finish(self, place: tuple[int, int]) -> None:
        """Multiply with the slope that is still to come."""
        slope = self._slopes.pop(place, None)
        if slope is not None:
            self._found[place] = _times(slope, *self._found[place])

    def totals(self) -> list[Tensor]:
        """All units' sums, and for Taylor saliency those of the absolute values of what was added; (samples, units)."""
        units, places = len(self._profiler.plan.units), sorted(self._found)
        many = self._profiler.reduction == "taylor"
        parts = [[self._found[place][number] for place in places] for number in range(1 + many)]
        gapless = [0, *(stop for _, stop in places)] == [*(start for start, _ in places), units]
        if gapless and all(part is not None for part in parts[-1]):
            whole = [torch.cat(part, 1).to(self._zeros) for part in parts]  # type: ignore[arg-type]  # just seen
            if not self._slopes:
                return whole
            slopes = self._zeros.new_ones(units)  # one product for all of them
            some = np.concatenate([np.arange(start, stop) for start, stop in self._slopes])
            slopes[torch.from_numpy(some)] = torch.cat([*self._slopes.values()]).to(slopes)
            return [total.mul_(factor) for total, factor in zip(whole, (slopes, slopes.abs()), strict=True)]
        for place in places:
            self._finish(place)
        parts = [[self._found[place][number] for place in places] for number in range(1 + many)]
        totals = [self._zeros.repeat(1, units) for _ in parts]
        for total, part in zip(totals, parts, strict=True):
            for (start, stop), own in zip(places, part, strict=True):
                if own is not None:
                    total[:, start:stop].add_(own)
        return totals

    def _by_output(self, rows: _Rows, lanes: Lanes) -> tuple[Tensor, ...] | None:
        """Taylor sums, and sums of absolute values, of lanes along a layer's output, both (samples, lanes).

        Behind a batch norm also its slope, with which they are to be multiplied.
        """
        operation, weight = rows.call.operation, self._parameters[lanes.parameter]
        bias = rows.call.options.get("bias")
        bias = bias if isinstance(bias, Tensor) else None
        y, g = rows.output, rows.gradient
        axes = {axis % weight.ndim for axis in lanes.axes}
        if y.dtype.itemsize < 4 and y.numel() == self._samples * len(lanes.units):
            return None  # one position: the product of two rounded numbers has few values
        if operation.outputs == "words":
            if rows.call.options.get("scale_grad_by_freq") or rows.call.options.get("max_norm") is not None:
                return None
            return self._by_word(rows, axes, *weight.shape)
        if operation.outputs == "scales":
            return self._by_scale(rows, weight)
        if operation.outputs == "features":
            if operation.features is not None and axes != {operation.along}:
                return None
            found = row_products(y, g, bias, operation.features or weight.ndim, self._profiler.workspace)
        else:
            if weight.ndim > 1 and len(axes) != 1:
                return None
            found = channel_products(y, g, bias, self._profiler.workspace)
            if rows.slope is not None:
                return rows.per_sample(found[0]), rows.per_sample(found[1]), rows.slope
        return rows.per_sample(found[0]), rows.per_sample(found[1])

    def _by_scale(self, rows: _Rows, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Every weight by itself, multiplied with whatever of the input lies beside it."""
        span = rows.call.options["span"]
        g = rows.gradient
        y = rows.input * weight.reshape(span) if rows.call.options["shifted"] else rows.output
        found = row_products(y, g, None, len(span), self._profiler.workspace)
        beside = [1 + axis for axis, size in enumerate(span) if size == 1]
        parts = [part.unflatten(1, g.shape[g.ndim - len(span) :]) for part in found]
        sums, sizes = (rows.per_sample((part.sum(beside) if beside else part).flatten(1)) for part in parts)
        return sums, sizes

    def _by_word(self, rows: _Rows, axes: set[int], words: int, features: int) -> tuple[Tensor, Tensor] | None:
        """Rows of an embedding at the positions that hold them; or its columns."""
        y, g, held = rows.output, rows.gradient, rows.input.long()
        padding = rows.call.options.get("padding_idx")
        if padding is not None:
            g = g.masked_fill((held == padding % words).unsqueeze(-1), 0)
        if axes == {1}:
            found = row_products(y, g, None, 1, self._profiler.workspace)
            return rows.per_sample(found[0]), rows.per_sample(found[1])
        if axes != {0}:
            return None
        product = (y.to(self._zeros) * g.to(self._zeros)).reshape(-1, features)
        owners = rows.owners.unsqueeze(-1).expand(len(rows.owners), held[:1].numel()).flatten()
        index = owners.clamp(min=0) * words + held.flatten()
        empty = self._zeros.new_zeros(self._samples * words)
        return tuple(empty.index_add(0, index, part.sum(1)).view(-1, words) for part in (product, product.abs()))  # type: ignore[return-value]

    def _by_rule(self, uses: Sequence[_Rows], lanes: Lanes) -> Tensor:
        """Sums of lanes by way of the layer's input."""
        weight, workspace = self._parameters[lanes.parameter], self._profiler.workspace
        reduction, count = self._profiler.reduction, len(lanes.units)

        def one(rows: _Rows, some: Tensor | None = None) -> Use:
            a, g = (x if some is None else x[some] for x in (rows.input, rows.gradient))
            return Use(weight, a, g, rows.call.options, lanes.axes)

        rules = [rows.call.operation.rule for rows in uses]  # they may differ: a linear layer tied to an embedding
        if all(rows.even for rows in uses):
            return lane_sums(rules, [one(rows) for rows in uses], self._samples, count, reduction, workspace)
        sums = self._zeros.new_zeros(self._samples, count)
        for sample in range(self._samples):
            picked = [(rows, torch.nonzero(rows.owners == sample).flatten()) for rows in uses]
            own = [(rows.call.operation.rule, one(rows, some)) for rows, some in picked if len(some)]
            if own:
                own_rules, own_uses = [rule for rule, _ in own], [use for _, use in own]
                sums[sample] = lane_sums(own_rules, own_uses, 1, count, reduction, workspace)[0]
        return sums


def _times(slope: Tensor, sums: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return sums * slope, None if sizes is None else sizes * slope.abs()


class _Rows:
    """A use with its rows in order: each sample's in succession where they can be, else with an owner each."""

    def __init__(self, call: Call, layout: Layout, samples: int) -> None:
        assert call.gradient is not None
        self.call = call
        self._samples = samples
        self._leading = call.leading
        self._layout = layout
        self._order: Tensor | None = None
        self.even = layout.form != SCATTERED
        owners = layout.owners
        if owners is not None:
            counts = torch.bincount(owners.clamp(min=0), minlength=samples)
            if bool((owners >= 0).all()) and bool((counts == counts[0]).all()):
                self._order, self.even = torch.argsort(owners, stable=True), True
        self.gradient = self._arranged(call.gradient)

    @cached_property
    def input(self) -> Tensor:
        """What went into the operation."""
        return self._arranged(self.call.input)

    @cached_property
    def output(self) -> Tensor:
        """What came out of it."""
        assert self.call.output is not None
        return self._arranged(self.call.output)

    @property
    def slope(self) -> Tensor | None:
        """What the output was multiplied with, channel by channel, where the gradient is."""
        return self.call.slope

    def come_to_output(self) -> None:
        """Take the gradient of the operation's own output."""
        if self.call.slope is not None:
            slope, self.call.slope = self.call.slope, None
            self.gradient = self.gradient * slope.to(self.gradient.dtype).view(1, -1, *[1] * (self.gradient.ndim - 2))

    @property
    def outputs(self) -> bool:
        """Whether the output is there, as it was."""
        return self.call.output is not None and self.call.output._version == self.call.output_version

    @property
    def owners(self) -> Tensor:
        """The sample of each row."""
        owners = self._layout.owners
        if owners is not None and self._order is None:
            return owners
        return torch.arange(len(self.gradient), device=self.gradient.device) * self._samples // len(self.gradient)

    def per_sample(self, sums: Tensor) -> Tensor:
        """Add rows to samples."""
        if not self.even:
            owners = self.owners
            known = owners >= 0
            return sums.new_zeros(self._samples, *sums.shape[1:]).index_add_(0, owners[known], sums[known])
        return sums if sums.shape[0] == self._samples else sums.unflatten(0, (self._samples, -1)).sum(1)

    def _arranged(self, x: Tensor) -> Tensor:
        if self._leading == 0:
            return x.unsqueeze(0)
        if self._layout.form == AXIS:
            return x.movedim(self._layout.axis, 0) if self._layout.axis else x
        if self._layout.form == FOLDED:
            return x
        flat = x.flatten(0, self._leading - 1)
        return flat if self._order is None else flat[self._order]
