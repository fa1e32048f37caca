"""Networks trained here, because no published weights of them are at hand; one checkpoint an epoch, so it resumes.

    python examples/evidence/trained.py --data DIR --output DIR [--only mnist_resnet18]

mnist_resnet18  ResNet-18 with torchvision's stem on MNIST, as Wang & Sato (2023) say: SGD, step 1e-3, momentum 0.9,
                batch 256, 10 epochs, images of 32×32 in three channels normalised with 0.5. What the paper does not
                say is at PyTorch's defaults.
mnist_vit       a small vision transformer on MNIST: 4 blocks of 4 heads, width 64, patches of 4×4, Adam, 2 epochs
pacs_<domain>   ResNet-18 of half the width on the other three domains of PACS at 64×64, four fifths of each: SGD with a
                one-cycle step up to 0.1, momentum 0.9, weight decay 5e-4, flips and shifts, 20 epochs. Without
                photographs to train on it diverged, so that domain is not left out
fashion_<kind>  on 20,000 images of Fashion-MNIST, Adam with a one-cycle step up to 3e-3, batch 128, 3 epochs:
                convolutions in a row (vgg), depthwise ones with ReLU6 (mobile), and a transformer of 3 blocks of 3
                heads (vit)
digits_<kind>   mobile, vgg of three quarters of the width, and resnet (ResNet-18 with torchvision's stem), on 10,000
                images of MNIST, likewise, for 2 epochs
names_bert      Bert of 3 blocks of 4 heads by `transformers`, which tells ten languages by names of languages, places
                and units, letter by letter: Adam with a one-cycle step up to 3e-3, batch 64, 20 epochs
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import samples
import torch
from architectures import NamesBert, SmallMobile, SmallVGG, SmallViT, networks
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Batch = tuple[Tensor, Tensor]
NAMES = (
    "mnist_resnet18", "mnist_vit", "pacs_art_painting", "pacs_cartoon", "pacs_sketch", "fashion_vgg", "fashion_mobile",
    "fashion_vit", "digits_vgg", "digits_mobile", "digits_resnet", "names_bert",
)  # fmt: skip


def pacs_split(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Four fifths of a domain to train on, the rest for everything else."""
    order = np.random.default_rng(0).permutation(n)
    return order[n // 5 :], order[: n // 5]


def architecture(name: str) -> nn.Module:
    if name == "mnist_resnet18":
        return networks.resnet18(10, small=False)
    if name == "mnist_vit":
        return SmallViT()
    if name.startswith("pacs_"):
        return networks.resnet18(7, small=False, width=32)
    if name.startswith(("fashion_", "digits_")):
        data, _, kind = name.partition("_")
        torch.manual_seed(1 if data == "fashion" else 3)
        widths = (16, 32, 64) if data == "fashion" else (12, 24, 48)
        kinds = {
            "vgg": lambda: SmallVGG(widths=widths),
            "mobile": SmallMobile,
            "vit": lambda: SmallViT(width=48, depth=3, heads=3),
            "resnet": lambda: networks.resnet18(10, small=False),
        }
        return kinds[kind]()
    if name == "names_bert":
        return NamesBert()
    raise ValueError(f"got {name!r}, wanted one of {NAMES}")


def trained(name: str, data: Path, output: Path, epochs: int | None = None) -> nn.Module:
    """The network in evaluation mode: from its file if it has been trained, else trained now."""
    path = output / "networks" / f"{name}.pt"
    torch.manual_seed(0)
    network = architecture(name)
    if not path.exists():
        _train(name, network, data, path, epochs)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def _train(name: str, network: nn.Module, data: Path, path: Path, other: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.startswith("pacs_"):
        sets = [(x[(t := pacs_split(len(y))[0])], y[t]) for d, (x, y) in samples.pacs(data).items() if d != name[5:]]
        x = samples.standardise_pacs(np.concatenate([x for x, _ in sets]))
        y = torch.from_numpy(np.concatenate([y for _, y in sets]))
        epochs, size, change = 20, 128, shifted_and_flipped
    elif name.startswith("fashion_"):
        images, labels = samples.fashion("train")
        x, y = samples.standardise_fashion(images[:20_000]), torch.from_numpy(labels[:20_000])
        epochs, size, change = 3, 128, None
    elif name.startswith("digits_"):
        file = samples.read(data, "mnist")
        x, y = samples.digits(file["x_train"][:10_000]), torch.from_numpy(file["y_train"][:10_000].astype(np.int64))
        epochs, size, change = 2, 128, None
    elif name == "names_bert":
        x, y = samples.names("train")[0], torch.from_numpy(samples.names("train")[1])
        epochs, size, change = 20, 64, None
    else:
        x, labels = samples.mnist(data)["train"]
        y, size, change = torch.from_numpy(labels), 256, None
        epochs = 10 if name == "mnist_resnet18" else 2
    epochs = other or epochs
    total = epochs * -(-len(y) // size)
    schedule = None
    if name.startswith(("fashion_", "digits_", "names_")):
        optimiser: torch.optim.Optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=total)
    elif name == "mnist_vit":
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    else:
        decay, step = (5e-4, 0.1) if name.startswith("pacs_") else (0.0, 1e-3)
        optimiser = torch.optim.SGD(network.parameters(), lr=step, momentum=0.9, weight_decay=decay)
    if name.startswith("pacs_"):
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=total)
    run(network, optimiser, schedule, lambda epoch: batches(x, y, size, epoch, change), epochs, path)


def batches(x: Tensor, y: Tensor, size: int, epoch: int, change: Callable[..., Tensor] | None) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(epoch)
    for rows in torch.randperm(len(y), generator=generator).split(size):
        yield x[rows] if change is None else change(x[rows], generator), y[rows]


def shifted_and_flipped(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored or not, and the batch moved by up to an eighth of its size."""
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    reach, size = x.shape[2] // 8, x.shape[2]
    top, left = torch.randint(0, 2 * reach + 1, (2,), generator=generator).tolist()
    return functional.pad(x, (reach,) * 4, mode="reflect")[:, :, top : top + size, left : left + size]


def run(
    network: nn.Module, optimiser: torch.optim.Optimizer, schedule: object | None,
    epoch_of: Callable[[int], Iterator[Batch]], epochs: int, path: Path,
) -> None:  # fmt: skip
    """Train with a checkpoint after each epoch; at the end leave the weights at the path."""
    state = path.with_suffix(".training")
    parts = {"network": network, "optimiser": optimiser} | ({} if schedule is None else {"schedule": schedule})
    first = 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        first = saved.pop("epoch")
        for key, part in parts.items():
            part.load_state_dict(saved[key])
    network.train()
    for epoch in range(first, epochs):
        losses = []
        for x, y in epoch_of(epoch):
            optimiser.zero_grad()
            loss = functional.cross_entropy(network(x), y)
            loss.backward()
            optimiser.step()
            if schedule is not None:
                schedule.step()
            losses.append(loss.item())
        print(f"{path.stem}: epoch {epoch + 1} of {epochs}, loss {np.mean(losses):.4f}", flush=True)
        write(state, {key: part.state_dict() for key, part in parts.items()} | {"epoch": epoch + 1})
    write(path, network.state_dict())
    state.unlink(missing_ok=True)


def write(path: Path, content: dict[str, object]) -> None:
    torch.save(content, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("evidence-output"))
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--epochs", type=int, help="others than those said above")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for each in [options.only] if options.only else NAMES:
        trained(each, options.data, options.output, options.epochs)
