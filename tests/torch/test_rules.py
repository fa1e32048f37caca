"""Rules for what people write beside torch's own layers, each against a loop of single samples in float64."""

import numpy as np
import pytest
import torch
from evtkit_torch import TorchModel
from torch import nn
from torch.nn import functional

N, T, WIDTH, CLASSES = 3, 3, 4, 3  # as many samples as positions: a shape tells nothing
REDUCTIONS = {
    "taylor": lambda g, w: (g * w).sum(),
    "mean-abs": lambda g, w: g.abs().mean(),
    "l2": lambda g, w: g.norm(),
}


def numbers(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def assert_exact(model, x, units, pieces, slow=(), fast=None):
    """Every reduction equals the loop; a unit's pieces are (parameter, what of it)."""
    model = model.double().eval()
    y = torch.arange(len(x)) % CLASSES
    names = list(dict.fromkeys(name for unit in pieces for name, _ in unit))
    parameters = [model.get_parameter(name) for name in names]
    gradients = []
    for i in range(len(x)):
        loss = functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        gradients.append(dict(zip(names, torch.autograd.grad(loss, parameters), strict=True)))

    def flat(arrays, unit):
        return torch.cat([arrays[name][index].flatten() for name, index in unit])

    weights = {name: model.get_parameter(name).detach() for name in names}
    for reduction, reduce in REDUCTIONS.items():
        want = np.array([[float(reduce(flat(g, u), flat(weights, u))) for u in pieces] for g in gradients])
        net = TorchModel(model, units=units, reduction=reduction, verify=False)
        assert len(net.units) == len(pieces)
        for _ in range(2):
            np.testing.assert_allclose(net.profile(x, y), want, rtol=1e-9, atol=1e-11 * np.abs(want).max())
        found = {part.parameter for part in net.coverage.slow}
        assert found == (set() if reduction == fast else set(slow))


class Around(nn.Module):
    """A layer among others: positions mixed before and after it."""

    def __init__(self, layer, use=None, width=WIDTH):
        super().__init__()
        self.before, self.layer, self.head = nn.Linear(WIDTH, WIDTH), layer, nn.Linear(width, CLASSES)
        self.use = use or (lambda layer, x: layer(x))

    def forward(self, x):
        x = torch.tanh(self.before(x))
        x = x + x.roll(1, 1)
        return self.head(torch.tanh(self.use(self.layer, x)).mean(1))


def rows(name, count, axis=0):
    return [[(name, (slice(None),) * axis + (i,))] for i in range(count)]


PRODUCTS = {
    "x @ w.T": lambda layer, x: x @ layer.weight.T,
    "matmul, transposed": lambda layer, x: torch.matmul(x, layer.weight.transpose(0, 1)),
    "x.matmul(w.t())": lambda layer, x: x.matmul(layer.weight.t()) + layer.bias,
    "addmm": lambda layer, x: torch.addmm(layer.bias, x.reshape(-1, WIDTH), layer.weight.T).view(*x.shape[:2], -1),
    "einsum": lambda layer, x: torch.einsum("bti,oi->bto", x, layer.weight),
    "einsum, weight first": lambda layer, x: torch.einsum("oi,bti->bto", layer.weight, x),
    "einsum, outputs in front": lambda layer, x: torch.einsum("bti,oi->bot", x, layer.weight).transpose(1, 2),
    "einsum, dots": lambda layer, x: torch.einsum("...i,oi->...o", x, layer.weight),
    "einsum, summed": lambda layer, x: torch.einsum("bti,oi->bo", x, layer.weight)[:, None],
    "cast": lambda layer, x: functional.linear(x, layer.weight.to(torch.float64).contiguous(), layer.bias),
}


@pytest.mark.parametrize("how", PRODUCTS)
def test_products_with_a_linear_layers_weight(how):
    model = Around(nn.Linear(WIDTH, 5), PRODUCTS[how], 5)
    assert_exact(model, numbers(N, T, WIDTH), "layer", rows("layer.weight", 5))


@pytest.mark.parametrize("use", [
    lambda layer, x: torch.einsum("bti,oi,o->bto", x, layer.weight, layer.bias),  # three factors
    lambda layer, x: functional.linear(x, layer.weight + layer.update),  # merged
    lambda layer, x: torch.einsum("bti,oi->bto", x, layer.weight / layer.weight.norm(dim=1, keepdim=True)),
])  # fmt: skip
def test_what_has_no_rule_is_slow_and_exact(use):
    layer = nn.Linear(WIDTH, 5)
    layer.register_buffer("update", torch.randn(5, WIDTH))
    assert_exact(Around(layer, use, 5), numbers(N, T, WIDTH), "layer", rows("layer.weight", 5), ["layer.weight"])


class Conv1D(nn.Module):  # as Transformers names GPT-2's linear layer
    def __init__(self, nf, nx):
        super().__init__()
        self.nf, self.weight, self.bias = nf, nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], self.nf)


def test_a_linear_layer_that_is_called_a_convolution():
    assert_exact(Around(Conv1D(5, WIDTH), width=5), numbers(N, T, WIDTH), "layer", rows("layer.weight", 5, 1))


def cells(prefix, hidden, gates, suffixes=("",)):
    """A cell's rows in every gate of both weights."""
    return [
        [(f"{prefix}.{name}{suffix}", slice(i, gates * hidden, hidden)) for name in ("weight_ih", "weight_hh")]
        for suffix in suffixes
        for i in range(hidden)
    ]


@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3), (nn.RNNCell, 1)])
def test_recurrent_cells(layer, gates):
    def run(cell, x):
        state, outputs = None, []
        for t in range(x.shape[1]):
            state = cell(x[:, t], state)
            outputs.append(state[0] if gates == 4 else state)
        return torch.stack(outputs, 1)

    model = Around(layer(WIDTH, 5), run, 5)
    assert_exact(model, numbers(N, T, WIDTH), "layer", cells("layer", 5, gates))


@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize("first", [True, False])
def test_recurrent_layers(layer, gates, first):
    def run(layer, x):
        return layer(x)[0] if first else layer(x.transpose(0, 1))[0].transpose(0, 1)

    model = Around(layer(WIDTH, 5, 2, batch_first=first, bidirectional=True), run, 10)
    suffixes = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")
    assert_exact(model, numbers(N, T, WIDTH), "layer", cells("layer", 5, gates, suffixes))


class Words(nn.Module):
    def __init__(self, tied, **options):
        super().__init__()
        self.words, self.inside = nn.Embedding(6, WIDTH, **options), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 6, bias=False)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, x):
        return self.head(torch.tanh(self.inside(self.words(x))).mean(1))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("options", [{}, {"padding_idx": 2}])
def test_embeddings(tied, options):
    x = torch.tensor([[0, 1, 1], [5, 2, 3], [4, 4, 2]])
    assert_exact(Words(tied, **options), x, "words", rows("words.weight", 6))


def test_bilinear_layers():
    model = Around(nn.Bilinear(WIDTH, WIDTH, 5), lambda layer, x: layer(x, x.flip(-1)), 5)
    assert_exact(model, numbers(N, T, WIDTH), "layer", rows("layer.weight", 5), slow=["layer.weight"], fast="taylor")


class LlamaRMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class GemmaRMSNorm(LlamaRMSNorm):  # one is added to the scale
    def forward(self, x):
        return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)) * (1.0 + self.weight)


class ChannelLayerNorm(LlamaRMSNorm):  # channels in front, as in ConvNeXt
    def forward(self, x):
        x = x.transpose(1, 2)
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1e-6).sqrt()
        return (self.weight[:, None] * x).transpose(1, 2)


NORMS = [nn.RMSNorm(WIDTH), nn.LayerNorm(WIDTH), LlamaRMSNorm(), GemmaRMSNorm(), ChannelLayerNorm()]


@pytest.mark.parametrize("layer", NORMS, ids=lambda layer: type(layer).__name__)
def test_scales(layer):
    nn.init.normal_(layer.weight)
    assert_exact(Around(layer), numbers(N, T, WIDTH), "layer", rows("layer.weight", WIDTH))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norms(groups):
    norm = nn.GroupNorm(groups, WIDTH)
    nn.init.normal_(norm.weight)
    model = Around(norm, lambda layer, x: layer(x.transpose(1, 2)).transpose(1, 2))
    assert_exact(model, numbers(N, T, WIDTH), "layer", rows("layer.weight", WIDTH))


class Adapted(nn.Module):
    """A frozen linear layer with a product of two small ones beside it."""

    def __init__(self):
        super().__init__()
        self.base, self.down, self.up = (
            nn.Linear(WIDTH, 5),
            nn.Linear(WIDTH, 2, bias=False),
            nn.Linear(2, 5, bias=False),
        )
        self.base.requires_grad_(False)

    def forward(self, x):
        return self.base(x) + 0.5 * self.up(self.down(x))


def test_low_rank_updates():
    model = Around(Adapted(), width=5)
    pieces = rows("layer.down.weight", 2) + rows("layer.up.weight", 5)
    assert_exact(model, numbers(N, T, WIDTH), ("layer.down", "layer.up"), pieces)


class Attention(nn.Module):
    def __init__(self, heads=2, shared=None):
        super().__init__()
        self.num_heads, self.shared = heads, shared or heads
        width = WIDTH // heads
        self.q_proj, self.out_proj = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.k_proj, self.v_proj = (nn.Linear(WIDTH, self.shared * width) for _ in range(2))

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = (f(x).view(n, t, -1, WIDTH // self.num_heads).transpose(1, 2)
                   for f in (self.q_proj, self.k_proj, self.v_proj))  # fmt: skip
        k, v = (part.repeat_interleave(self.num_heads // self.shared, 1) for part in (k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.out_proj(mixed.transpose(1, 2).reshape(n, t, WIDTH))


@pytest.mark.parametrize("shared", [2, 1])
def test_heads_of_separate_projections(shared):
    def part(name, head):
        return f"layer.{name}.weight", slice(2 * head, 2 * head + 2)

    def columns(head):
        return "layer.out_proj.weight", (slice(None), slice(2 * head, 2 * head + 2))

    if shared == 2:
        pieces = [[part("q_proj", h), part("k_proj", h), part("v_proj", h), columns(h)] for h in range(2)]
    else:
        pieces = [[part("q_proj", h), columns(h)] for h in range(2)] + [[part("k_proj", 0), part("v_proj", 0)]]
    assert_exact(Around(Attention(2, shared)), numbers(N, T, WIDTH), "heads", pieces)


@pytest.mark.parametrize("seed", range(3))
def test_single_precision_is_right_to_rounding(seed):
    """The error against double precision is some roundings of what is added, which may cancel."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.GroupNorm(2, 8), nn.SiLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES),
    ).eval()  # fmt: skip
    x, y = 3 + torch.randn(5, 3, 9, 9), torch.arange(5) % CLASSES
    single = TorchModel(model, units=("filters", "rows", "channels")).profile(x, y)
    model.double()
    net = TorchModel(model, units=("filters", "rows", "channels"))
    double = net.profile(x.double(), y)
    summed = net.profiler.sizes  # Σ|y·g| over positions
    products = np.stack([net.profiler.judged(*one)[1] for one in net.profiler.batch(x.double()).parts(1, y)])  # Σ|w·g|
    error = np.abs(single - double)
    assert (error > 0).any()
    assert (error <= 100 * np.finfo(np.float32).eps * (summed + products)).all()


class Packed(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(5, 3)

    def forward(self, x):
        lengths = 1 + torch.arange(len(x)) % x.shape[1] if len(x) > 1 else torch.ones(1, dtype=torch.long)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, _ = nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True, total_length=x.shape[1])
        return self.head(out[:, 0])


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_packed_sequences_are_slow_and_exact(layer):
    torch.manual_seed(0)
    model = Packed(layer(4, 5, batch_first=True)).double().eval()
    x, y = torch.randn(1, 3, 4, dtype=torch.float64).repeat(3, 1, 1), [0, 1, 2]
    x = x + torch.arange(3)[:, None, None]
    net = TorchModel(model, units="cells")
    got = net.profile(x, y)
    loss = functional.cross_entropy(model(x), torch.tensor(y), reduction="none")
    weights = [model.layer.weight_ih_l0, model.layer.weight_hh_l0]
    for i in range(3):
        slopes = torch.autograd.grad(loss[i], weights, retain_graph=True)
        parts = [(w * s).sum(1).view(-1, 5).sum(0) for w, s in zip(weights, slopes, strict=True)]
        np.testing.assert_allclose(got[i], sum(parts).detach(), rtol=1e-10, atol=1e-12)
    assert {part.parameter for part in net.coverage.slow} == {"layer.weight_ih_l0", "layer.weight_hh_l0"}


class Mapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(torch.func.vmap(lambda one: torch.tanh(self.layer(one)))(x))


class Energy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.energy, self.head = nn.Linear(4, 5), nn.Linear(5, 1), nn.Linear(4, 3)

    def forward(self, x):
        with torch.enable_grad():
            z = x.detach().requires_grad_()
            energy = self.energy(torch.tanh(self.layer(z))).sum()
            (slope,) = torch.autograd.grad(energy, z, create_graph=True)
        return self.head(slope)


@pytest.mark.parametrize("network", [Mapped, Energy])
def test_what_cannot_be_followed_is_slow_and_exact(network):
    torch.manual_seed(0)
    model = network().double().eval()
    x, y = torch.randn(4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    net = TorchModel(model, units="rows")
    with pytest.warns(UserWarning, match="cannot be followed"):
        got = net.profile(x, y)
    loss = functional.cross_entropy(model(x), y, reduction="none")
    for i in range(4):
        (slope,) = torch.autograd.grad(loss[i], [model.layer.weight], retain_graph=True)
        np.testing.assert_allclose(got[i, :5], (model.layer.weight * slope).sum(1).detach(), rtol=1e-9, atol=1e-12)
    assert net.coverage.slow
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):  # the network's own errors stay its own
        TorchModel(model, units="rows").profile(x[:, :3], y)
    assert not TorchModel(model, units="rows").coverage.slow
