"""Profiles of many architectures against a loop of single samples, in float64, random weights, all reductions.

    python benchmarks/architectures.py [--only NAME] [--rst]

Networks of `transformers` (small configurations, nothing is downloaded) and of plain PyTorch. For each: whether all
three reductions equal the loop to 1e-9 of the largest entry, how many of the covered weights needed one sample at a
time, and how much of the network its units cover.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import networks
from evtkit_torch import TorchModel
from odd_networks import ODD

from evtkit.saliency.adapting import reduce_gradient

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = ("filters", "rows", "channels", "heads", "cells")
N, CLASSES = 3, 4
Built = tuple[nn.Module, Any]


def images(size: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(N, channels, size, size)


def tokens(length: int = 7, vocabulary: int = 40) -> Tensor:
    return torch.randint(3, vocabulary, (N, length))


# Networks of transformers: the name of a class for classification, its inputs, and what makes its configuration small.
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_labels": CLASSES,
}
TEXT = {**SMALL, "vocab_size": 40, "max_position_embeddings": 32, "pad_token_id": 0, "type_vocab_size": 2}
CAUSAL = {**TEXT, "num_key_value_heads": 1, "head_dim": 8}
CAUSAL.pop("type_vocab_size")
PIXELS = {**SMALL, "image_size": 32, "patch_size": 8}
STAGES = {"num_labels": CLASSES, "image_size": 32}

TEXTS: dict[str, dict[str, Any]] = {
    "Bert": TEXT, "Roberta": TEXT, "Electra": {**TEXT, "embedding_size": 16}, "MPNet": TEXT, "Camembert": TEXT,
    "XLMRoberta": TEXT, "Ernie": TEXT, "MegatronBert": TEXT, "RoFormer": {**TEXT, "embedding_size": 16}, "Nezha": TEXT,
    "Albert": {**TEXT, "embedding_size": 16}, "ConvBert": {**TEXT, "embedding_size": 16, "conv_kernel_size": 3},
    "DebertaV2": {**TEXT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8},
    "Deberta": {**TEXT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "vocab_size": 40, "num_labels": CLASSES,
                   "max_position_embeddings": 32},
    "FNet": {**TEXT}, "SqueezeBert": {**TEXT, "embedding_size": 16}, "MobileBert": {**TEXT, "embedding_size": 16,
        "intra_bottleneck_size": 16, "true_hidden_size": 16}, "LayoutLM": TEXT, "ModernBert": {**CAUSAL, "global_attn_every_n_layers": 2},
    "Funnel": {"block_sizes": [1, 1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 24, "vocab_size": 40,
               "num_labels": CLASSES},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": 40, "num_labels": CLASSES,
             "pad_token_id": 0},
    "OpenAIGPT": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": 40, "num_labels": CLASSES,
                  "pad_token_id": 0},
    "GPTNeo": {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]],
               "vocab_size": 40, "max_position_embeddings": 32, "num_labels": CLASSES, "pad_token_id": 0},
    "GPTNeoX": {**TEXT}, "GPTBigCode": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": 40,
                                        "num_labels": CLASSES, "pad_token_id": 0},
    "OPT": {**TEXT, "ffn_dim": 24, "word_embed_proj_dim": 16}, "Bloom": {**TEXT, "n_layer": 2, "n_head": 2},
    "Llama": CAUSAL, "Mistral": CAUSAL, "Qwen2": CAUSAL, "Qwen3": CAUSAL, "Gemma": CAUSAL, "Gemma2": CAUSAL, "Phi": CAUSAL,
    "Phi3": {**CAUSAL, "num_key_value_heads": 2}, "StableLm": CAUSAL, "Falcon": TEXT, "Starcoder2": CAUSAL, "Persimmon": CAUSAL,
    "Mixtral": {**CAUSAL, "num_local_experts": 3, "num_experts_per_tok": 2}, "Qwen2Moe": {**CAUSAL, "num_experts": 3,
        "num_experts_per_tok": 2, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8},
    "T5": {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "vocab_size": 40,
           "num_labels": CLASSES, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
    "Bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "vocab_size": 40,
             "max_position_embeddings": 32, "num_labels": CLASSES, "pad_token_id": 0, "eos_token_id": 1},
}  # fmt: skip
PICTURES: dict[str, dict[str, Any]] = {
    "ViT": PIXELS, "DeiT": PIXELS, "Beit": {**PIXELS, "use_relative_position_bias": True, "layer_scale_init_value": 0.1},
    "Dinov2": {**PIXELS, "mlp_ratio": 2}, "ViTMSN": PIXELS, "Data2VecVision": PIXELS, "IJepa": PIXELS,
    "Siglip": {"vision_config": {**PIXELS}, "num_labels": CLASSES},
    "Swin": {**STAGES, "patch_size": 4, "embed_dim": 8, "depths": [2, 1], "num_heads": [1, 2], "window_size": 4},
    "Swinv2": {**STAGES, "patch_size": 4, "embed_dim": 8, "depths": [2, 1], "num_heads": [1, 2], "window_size": 4},
    "ConvNext": {**STAGES, "hidden_sizes": [8, 12, 16, 16], "depths": [1, 1, 1, 1]},
    "ConvNextV2": {**STAGES, "hidden_sizes": [8, 12, 16, 16], "depths": [1, 1, 1, 1]},
    "ResNet": {**STAGES, "embedding_size": 8, "hidden_sizes": [8, 12, 16, 16], "depths": [1, 1, 1, 1]},
    "RegNet": {**STAGES, "embedding_size": 8, "hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "groups_width": 8},
    "Bit": {**STAGES, "embedding_size": 32, "hidden_sizes": [32, 32, 32, 32], "depths": [1, 1, 1, 1], "num_groups": 8, "image_size": 64},
    "MobileNetV1": {**STAGES, "depth_multiplier": 0.25, "min_depth": 8},
    "MobileNetV2": {**STAGES, "depth_multiplier": 0.25, "min_depth": 8},
    "EfficientNet": {**STAGES, "width_coefficient": 0.25, "depth_coefficient": 0.5, "hidden_dim": 320},
    "LevitForImageClassification": {**STAGES, "hidden_sizes": [16, 24, 32], "num_attention_heads": [2, 2, 2],
                                    "key_dim": [8, 8, 8], "depths": [1, 1, 1], "image_size": 64},
    "PoolFormer": {**STAGES, "hidden_sizes": [8, 12, 16, 16], "depths": [1, 1, 1, 1]},
    "Segformer": {**STAGES, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]},
    "Pvt": {**STAGES, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]},
    "PvtV2": {**STAGES, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]},
    "Cvt": {"num_labels": CLASSES, "embed_dim": [8, 16, 16], "num_heads": [1, 2, 2], "depth": [1, 2, 3]},
    "MobileViT": {**STAGES, "hidden_sizes": [16, 16, 16], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16],
                  "num_attention_heads": 2},
    "MobileViTV2": {**STAGES, "width_multiplier": 0.25, "image_size": 64},
    "FocalNet": {**STAGES, "embed_dim": 8, "depths": [1, 1, 1, 1]},
    "VanillaViTHybrid": {}, "Dinat": {}, "SwiftFormer": {**STAGES, "depths": [1, 1, 1, 1], "embed_dims": [8, 8, 16, 16]},
    "EfficientFormer": {}, "TextNet": {**STAGES}, "HGNetV2": {**STAGES},
}  # fmt: skip


class Recurrent(nn.Module):
    def __init__(self, layer: type, **options: Any) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(40, 8), layer(8, 6, batch_first=True, **options)
        width = options.get("proj_size", 0) or 6
        self.head = nn.Linear(width * (1 + options.get("bidirectional", False)), CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.words(x))[0].mean(1))


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Encoder(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, **options)
        self.words, self.body, self.head = (
            nn.Embedding(40, 16),
            nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
            nn.Linear(16, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.words(x)).mean(1))


class Dense(nn.Module):
    """DenseNet: every layer sees all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(3 + 4 * i), nn.ReLU(), nn.Conv2d(3 + 4 * i, 4, 3, padding=1)) for i in range(4)
        )
        self.head = nn.Linear(19, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.head(x.mean((2, 3)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.inner = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.up, self.head = nn.ConvTranspose2d(8, 8, 2, 2), nn.Conv2d(11, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.silu(self.inner(functional.silu(self.down(x))))
        return self.head(torch.cat([x, self.up(y)], 1)).mean((2, 3))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 16, 8, 8), nn.LayerNorm(16)
        self.tokens, self.channels, self.head = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patch(x).flatten(2).transpose(1, 2)
        y = y + self.tokens(self.norm(y).transpose(1, 2)).transpose(1, 2)
        return self.head((y + functional.gelu(self.channels(self.norm(y)))).mean(1))


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.router = nn.Embedding(40, 8), nn.Linear(8, 3)
        self.experts, self.head = nn.ModuleList(nn.Linear(8, 8) for _ in range(3)), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(x)
        gate = self.router(x).softmax(-1)
        share, chosen = gate.max(-1)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            here = chosen == number
            out[here] = share[here][:, None] * torch.tanh(expert(x[here]))
        return self.head(out.mean(1))


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        w = functional.batch_norm(self.weight.view(1, len(self.weight), -1), None, None, training=True)
        return functional.conv2d(x, w.view_as(self.weight), self.bias, self.stride, self.padding)


def head(width: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES)]


def vgg() -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, width in ((3, 8), (8, 12), (12, 16)):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return [*layers, *head(16)]


def inverted(width: int) -> nn.Module:
    wide = 3 * width
    return Residual(
        nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(inplace=True),
        nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(inplace=True),
        nn.Conv2d(wide, width, 1, bias=False), nn.BatchNorm2d(width),
    )  # fmt: skip


def weight_normalised() -> nn.Module:
    return nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3)), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), *head(8)
    )


PLAIN: dict[str, Callable[[], Built]] = {
    "VGG": lambda: (nn.Sequential(*vgg()), images()),
    "ResNet-18": lambda: (networks.resnet18(), images(8)),
    "ResNet-20 (CIFAR)": lambda: (networks.cifar_resnet(20), images(16)),
    "inverted residuals": lambda: (nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), inverted(8), inverted(8), *head(8)), images()),
    "DenseNet": lambda: (Dense(), images(12)),
    "U-Net": lambda: (UNet(), images(12)),
    "MLP-Mixer": lambda: (Mixer(), images()),
    "GroupNorm network": lambda: (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 8, 3), nn.GroupNorm(8, 8),
                      nn.SiLU(), *head(8)),
        images(12),
    ),
    "temporal convolutions": lambda: (
        nn.Sequential(nn.Conv1d(3, 8, 3, dilation=2, padding=4), nn.ReLU(), nn.Conv1d(8, 8, 3), nn.AdaptiveAvgPool1d(1),
                      nn.Flatten(), nn.Linear(8, CLASSES)),
        torch.randn(N, 3, 20),
    ),
    "volumes": lambda: (
        nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 6, 3, groups=2), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
                      nn.Linear(6, CLASSES)),
        torch.randn(N, 1, 7, 7, 7),
    ),
    "LSTM": lambda: (Recurrent(nn.LSTM), tokens()),
    "LSTM, two layers, both ways, projected": lambda: (
        Recurrent(nn.LSTM, num_layers=2, bidirectional=True, proj_size=4), tokens()),
    "GRU": lambda: (Recurrent(nn.GRU, bidirectional=True), tokens()),
    "Elman": lambda: (Recurrent(nn.RNN, nonlinearity="relu"), tokens()),
    "Transformer encoder": lambda: (Encoder(), tokens()),
    "Transformer encoder, norm first": lambda: (Encoder(norm_first=True, activation="gelu"), tokens()),
    "token-routed experts": lambda: (Experts(), tokens()),
    "weight standardisation": lambda: (nn.Sequential(Standardised(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), *head(8)), images(12)),
    "weight norm": lambda: (weight_normalised(), images(12)),
}  # fmt: skip


def transformer(name: str, options: dict[str, Any], text: bool) -> Built | None:
    """A network of transformers by the name of its family; None where this version has none."""
    import transformers

    family = name.removesuffix("ForImageClassification")
    config = getattr(transformers, f"{family}Config", None)
    kind = "SequenceClassification" if text else "ImageClassification"
    made = getattr(transformers, f"{family}For{kind}", None)
    if config is None or made is None or not options:
        return None
    settings = config(**options)
    settings._attn_implementation = settings._experts_implementation = "eager"
    if not text:
        return made(settings), {"pixel_values": images(options.get("image_size", 32))}
    x = tokens()
    if family in ("T5", "Bart"):
        x[:, -1] = 1  # the end, which these look for
    return made(settings), {"input_ids": x}


def scores(output: Any) -> Tensor:
    """The scores among what a network returns: its first output, or that of their name."""
    if isinstance(output, dict):
        return output["logits"]
    output = getattr(output, "logits", output)
    return output[0] if isinstance(output, tuple) else output


def loop(net: TorchModel, x: Any, y: Tensor) -> dict[str, np.ndarray]:
    """Every reduction from ordinary gradients of one sample at a time."""
    model, plan = deepcopy(net.model), net.profiler.plan  # LeViT keeps what it has computed, with its graph
    rows: dict[str, list[np.ndarray]] = {how: [] for how in ("taylor", "mean-abs", "l2")}
    named = {name: model.get_parameter(name).requires_grad_(True) for name in plan.parameters}
    weights = {name: p.detach().numpy() for name, p in named.items()}
    for i in range(N):
        # Twice, and the mean: PyTorch's kernel for batch norms in evaluation misreads some gradients of one sample alone.
        twice = [i, i]
        one = {key: value[twice] for key, value in x.items()} if isinstance(x, dict) else x[twice]
        output = model(**one) if isinstance(one, dict) else model(one)
        loss = functional.cross_entropy(scores(output), y[twice])
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        slopes = {
            name: np.zeros(p.shape) if g is None else g.to_dense().numpy()
            for (name, p), g in zip(named.items(), found, strict=True)
        }
        for how, into in rows.items():
            into.append(reduce_gradient(plan, how, slopes, weights))
    return {how: np.stack(into) for how, into in rows.items()}


def examine(name: str, model: nn.Module, x: Any) -> str:
    torch.manual_seed(1)
    model = model.double().eval()
    x = {k: v.double() if v.is_floating_point() else v for k, v in x.items()} if isinstance(x, dict) else (
        x.double() if x.is_floating_point() else x)  # fmt: skip
    y = torch.arange(N) % CLASSES
    with torch.no_grad():  # some layers want to see an input first
        several = type(model(**x) if isinstance(x, dict) else model(x)) is tuple
    worst, slow, net = 0.0, 0, None
    for how in ("taylor", "mean-abs", "l2"):
        net = TorchModel(model, units=KINDS, reduction=how, output=0 if several else None)
        if how == "taylor":
            try:
                want = loop(net, x, y)
            except Exception as error:
                return f"LOOP FAILS too: {type(error).__name__}: {str(error)[:100]}"
        got = net.profile(x, y)
        worst = max(worst, float(np.abs(got - want[how]).max() / np.abs(want[how]).max()))
        slow = max(slow, sum(part.size for part in net.coverage.slow))
    assert net is not None
    kinds = " ".join(dict.fromkeys(net.units.kind.tolist()))
    verdict = "exact" if worst < 1e-9 else f"WRONG {worst:.1e}"
    share = slow / max(1, net.coverage.covered)
    return f"{verdict:9s} {len(net.units):6d} units, {100 * net.coverage.fraction:5.1f} % covered, {100 * share:5.1f} % of it slow   {kinds}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    cases: dict[str, Callable[[], Built | None]] = PLAIN | ODD
    for text, family in ((True, TEXTS), (False, PICTURES)):
        for name, small in family.items():
            cases[f"{name} (transformers)"] = lambda name=name, small=small, text=text: transformer(name, small, text)
    counts: dict[str, int] = {}
    for name, build in cases.items():
        if options.only and not any(part in name for part in options.only.split(",")):
            continue
        torch.manual_seed(0)
        start = time.perf_counter()
        try:
            built = build()
        except Exception as error:  # a configuration that this version of the library does not take
            print(f"{name:40s} not built: {type(error).__name__}: {str(error)[:90]}", flush=True)
            continue
        if built is None:
            continue
        try:
            line = examine(name, *built)
        except Exception as error:  # what users would see
            line = f"REFUSED   {type(error).__name__}: {str(error)[:150]}"
        counts[line.split()[0]] = counts.get(line.split()[0], 0) + 1
        print(f"{name:40s} {line}   {time.perf_counter() - start:.1f} s", flush=True)
    print(counts)


if __name__ == "__main__":
    main()
