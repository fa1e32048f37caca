"""Profiles equal a loop of single samples and torch.func.vmap(grad), in float64, layer by layer."""

import pytest
import torch
from evtkit_torch import TorchModel
from oracles import assert_profile_exact
from torch import nn

CONV, TRANSPOSED = (
    {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d},
    {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d},
)
EXTENT = {1: (11,), 2: (9, 7), 3: (6, 5, 7)}


class Net(nn.Module):
    """A layer between two others, so that its input and its output both have a history."""

    def __init__(self, layer, dims, channels):
        super().__init__()
        self.before = CONV[dims](2, channels, 1)
        self.layer = layer
        self.head = nn.Linear(layer.out_channels if hasattr(layer, "out_channels") else channels, 3)

    def forward(self, x):
        y = torch.tanh(self.layer(torch.tanh(self.before(x))))
        return self.head(y.flatten(2).square().mean(2))


def check(layer, dims, channels=4, n=3, **options):
    torch.manual_seed(1)
    model = Net(layer, dims, channels).double().eval()
    x = torch.randn(n, 2, *EXTENT[dims], dtype=torch.float64)
    net = TorchModel(model, units=options.pop("units", "filters"), **options)
    return assert_profile_exact(net, model, x, torch.arange(n) % 3)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 3},
        {"kernel_size": 3, "padding": 1, "bias": False},
        {"kernel_size": 3, "stride": 2, "padding": 2},
        {"kernel_size": 2, "stride": 3},
        {"kernel_size": 3, "dilation": 2, "padding": 2},
        {"kernel_size": 2, "dilation": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "groups": 2, "padding": "same"},
        {"kernel_size": 2, "groups": 4, "padding": "valid"},
        {"kernel_size": 4, "padding": "same", "dilation": 1},
        {"kernel_size": 1, "stride": 2},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_convolutions(dims, options):
    check(CONV[dims](4, 8, **options), dims)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [1, "same", (2, 1)])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_padding_modes(mode, padding):
    kernel = (4, 3) if padding == "same" else 3  # even: more at the end than at the beginning
    check(nn.Conv2d(4, 6, kernel, padding=padding, padding_mode=mode), 2)


@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_convolutions(multiplier):
    check(nn.Conv2d(4, 4 * multiplier, 3, stride=2, padding=1, groups=4), 2)


def test_options_that_differ_along_the_axes():
    check(nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)), 2)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "stride": 2, "output_padding": 1},
        {"kernel_size": 2, "stride": 3, "groups": 2, "padding": 1},
        {"kernel_size": 3, "dilation": 3, "output_padding": 2, "bias": False},
        {"kernel_size": 2, "stride": 2, "dilation": 2, "groups": 4},
    ],
    ids=str,
)
def test_transposed_convolutions(dims, options):
    check(TRANSPOSED[dims](4, 8, **options), dims)


def test_output_size_given_at_the_call():
    class Sized(nn.ConvTranspose2d):
        def forward(self, x):
            return super().forward(x, output_size=(18, 14))

    check(Sized(4, 4, 3, stride=2, padding=1), 2)


@pytest.mark.parametrize("options", [{"kernel_size": 3, "groups": 2}, {"kernel_size": 9, "padding": (1, 2)}], ids=str)
def test_euclidean_reduction(options):
    check(nn.Conv2d(4, 8, **options), 2, reduction="l2")
    check(nn.ConvTranspose2d(4, 8, 3, groups=2), 2, reduction="l2")


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(4),
        nn.GroupNorm(2, 4),
        nn.InstanceNorm2d(4, affine=True),
        nn.LayerNorm([4, 9, 7]),
        nn.RMSNorm([9, 7]),
        nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    ],
    ids=str,
)
@pytest.mark.parametrize("reduction", ["mean-abs", "l2"])
def test_normalisation_scales(layer, reduction):
    torch.manual_seed(2)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    if getattr(layer, "running_mean", None) is not None:
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    check(layer, 2, units=("channels", "filters"), reduction=reduction)


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 5, 6)])
def test_linear_rows_with_and_without_a_sequence(shape):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.rms = nn.LayerNorm(6), nn.RMSNorm(6)
            self.inner, self.head = nn.Linear(6, 4), nn.Linear(4, 3, bias=False)

        def forward(self, x):
            y = self.head(torch.tanh(self.inner(self.rms(self.norm(x)))))
            return y.flatten(1, -2).mean(1) if y.ndim > 2 else y

    model = Net().double().eval()
    net = TorchModel(model, units=("rows", "channels"))
    assert_profile_exact(net, model, torch.randn(3, *shape, dtype=torch.float64), torch.arange(3))


def test_samples_in_the_second_axis():
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.norm, self.head = nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)

        def forward(self, x):
            return self.head(self.norm(torch.tanh(self.inner(x.transpose(0, 1))))).mean(0)

    model = TimeFirst().double().eval()
    net = TorchModel(model, units=("rows", "channels"))
    for n in (3, 7, 1):  # 7 samples of 7 positions: remembered from the first
        x = torch.randn(n, 7, 4, dtype=torch.float64)
        assert_profile_exact(net, model, x, torch.arange(n) % 3, vmap=False)


def test_frames_folded_into_the_batch():
    class Frames(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Linear(4, 3)

        def forward(self, x):
            y = self.norm(self.conv(x.flatten(0, 1))).square()
            return self.head(y.mean((2, 3))).unflatten(0, x.shape[:2]).sum(1)

    model = Frames().double().eval()
    net = TorchModel(model, units=("filters", "rows", "channels"))
    assert_profile_exact(net, model, torch.randn(3, 4, 2, 6, 6, dtype=torch.float64), torch.arange(3))


class Attention(nn.Module):
    def __init__(self, cross=False, **options):
        super().__init__()
        self.cross = cross
        self.attention = nn.MultiheadAttention(8, 2, **options)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        y = x if self.attention.batch_first else x.transpose(0, 1)
        memory = y[..., :6] if self.attention.kdim == 6 else torch.tanh(y) if self.cross else y
        mask = torch.ones(5, 5, dtype=torch.bool, device=x.device).triu(1)
        mixed, _ = self.attention(y, memory, memory, attn_mask=None if self.cross else mask, need_weights=self.cross)
        return self.head(mixed.mean(1 if self.attention.batch_first else 0))


@pytest.mark.parametrize(
    "options",
    [
        {"batch_first": True},
        {"batch_first": False},
        {"batch_first": True, "bias": False, "add_zero_attn": True},
        {"batch_first": False, "cross": True, "add_bias_kv": True},
        {"batch_first": True, "cross": True, "kdim": 6, "vdim": 6},
    ],
    ids=str,
)
def test_attention_heads(options):
    model = Attention(**options).double().eval()
    net = TorchModel(model, units=("heads", "rows"))
    assert set(net.units.kind) == {"heads", "rows"}
    assert_profile_exact(net, model, torch.randn(5, 5, 8, dtype=torch.float64), torch.arange(5) % 3, vmap=False)


def test_fused_attention_heads():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.num_heads, self.qkv, self.proj = 2, nn.Linear(8, 24, bias=False), nn.Linear(8, 8)

        def forward(self, x):
            q, k, v = self.qkv(x).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
            return self.proj(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    model = nn.Sequential(Fused(), nn.Flatten(), nn.Linear(40, 3)).double().eval()
    net = TorchModel(model, units=("heads", "rows"))
    assert_profile_exact(net, model, torch.randn(3, 5, 8, dtype=torch.float64), torch.arange(3), vmap=False)


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_whole_transformer(batch_first):
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=batch_first)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            y = self.encoder(x if batch_first else x.transpose(0, 1))
            return self.head(y.mean(1 if batch_first else 0))

    model = Encoder().double().eval()
    net = TorchModel(model, units=("heads", "rows", "channels"))
    assert_profile_exact(net, model, torch.randn(4, 5, 8, dtype=torch.float64), torch.arange(4) % 3, vmap=False)
