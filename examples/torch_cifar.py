"""CIFAR-10 ResNets: find the filters behind their mistakes on other photographs and drawings, and repair them.

Needs PyTorch and safetensors, and a folder with the published weights and images (``--data``):

    python examples/torch_cifar.py --data DIR --depth 20 --mistakes 200
"""

from __future__ import annotations

import argparse
from pathlib import Path

import networks
import numpy as np
import torch
from evtkit_torch import TorchModel

from evtkit.saliency import Batches, calibrate, evaluate, held_out_split, report

ACCURACY = {20: 0.9173, 56: 0.9339}  # of the published weights on the whole test set


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with weights/ and images/")
    parser.add_argument("--depth", type=int, choices=sorted(ACCURACY), default=20)
    parser.add_argument(
        "--calibration", type=int, default=2000, help="training images to learn the usual saliency from"
    )
    parser.add_argument("--mistakes", type=int, default=200, help="mistakes to take; half rank, half judge")
    parser.add_argument("--repairs", type=int, default=40, help="mistakes to repair one by one")
    parser.add_argument("--held-out", type=int, default=200, help="test images on which repairs are tried")
    parser.add_argument(
        "--published", action="store_true", help="the published protocol: mean absolute gradients, ranked by pot"
    )
    parser.add_argument("--step", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=Path("output"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)

    weights = options.data / "weights" / f"cifar10_resnet{options.depth}.safetensors"
    reduction, normalize, by = ("mean-abs", None, "pot") if options.published else ("taylor", "sample", "impact")
    network = networks.load(networks.cifar_resnet(options.depth), weights)
    net = TorchModel(network, micro_batch=250, reduction=reduction)
    print(net)

    x_test, y_test = images(options.data, "cifar10_test", 2000)
    accuracy = (net.predict(x_test).argmax(1) == y_test).mean()
    print(f"accuracy on {len(y_test)} test images: {accuracy:.4f} (published: {ACCURACY[options.depth]:.4f})")

    x, y = images(options.data, "cifar10_train10k", options.calibration)
    state = options.output / f"calibration-{options.depth}-{reduction}.npz"
    reference = calibrate(net, Batches(x, y, 100), normalize=normalize, checkpoint=state)
    reference.save(options.output / "reference.npz")
    print(reference, reference.tail, reference.compare_families(), sep="\n")

    x_shift, y_shift = images(options.data, "cifar10_natural_shift", None)
    wrong = np.flatnonzero(net.predict(x_shift).argmax(1) != y_shift)
    print(f"\naccuracy on {len(y_shift)} other pictures: {1 - len(wrong) / len(y_shift):.4f}")
    wrong = np.random.default_rng(0).permutation(wrong)[: options.mistakes]
    first, second = (wrong[part] for part in held_out_split(y_shift[wrong], 0.5))

    profiles = np.concatenate([net.profile(*b) for b in Batches(x_shift[first], y_shift[first], 50)])
    ranking = reference.rank(profiles, by)
    print(f"\n{ranking.table(10)}\n\n{ranking.enrichment(25)}")
    right = net.predict(x_test).argmax(1) == y_test
    for step in (options.step, 3 * options.step, 10 * options.step):  # one repair for all, judged on other mistakes
        with net.tuned(ranking.top(25), x_shift[first], y_shift[first], step=step):
            corrected = [(net.predict(x_shift[part]).argmax(1) == y_shift[part]).mean() for part in (first, second)]
            lost = (net.predict(x_test[right]).argmax(1) != y_test[right]).mean()
        print(f"one step {step:g} of 25 filters: corrects {corrected[0]:.3f}, of other mistakes {corrected[1]:.3f}, "
              f"loses {lost:.4f} of the test images")  # fmt: skip

    some = second[: options.repairs]
    results = evaluate(
        net, reference, (x_shift[some], y_shift[some]),
        held_out=(x_test[: options.held_out], y_test[: options.held_out]), prune=(1, 2, 5, 10, 25, 50),
        tune=(1, 2, 5, 10, 25), step=options.step, equal_norm=True, collateral_k=(25,), batch_size=100,
    )  # fmt: skip
    print(f"\n{results}\n{results.table((5, 25))}")
    for other in (name for name in results.by if name != by):
        mean, low, high = results.difference(by, other, "corrected", "tune", 25)
        print(f"corrected by tuning 25, {by} − {other}: {100 * mean:+.1f} % ({100 * low:+.1f} … {100 * high:+.1f})")
    results.to_csv(options.output / "repair.csv")
    title = f"ResNet-{options.depth}: CIFAR-10's classes in other pictures"
    page = report(options.output / "cifar.html", reference, ranking=ranking, results=results,
                  families=reference.compare_families(), title=title)  # fmt: skip
    print(f"\n{page}")


def images(data: Path, name: str, count: int | None) -> tuple[torch.Tensor, np.ndarray]:
    """The first images of a file, as the network takes them, and their labels."""
    with np.load(data / "images" / f"{name}.npz") as file:
        return networks.standardise_cifar(torch.from_numpy(file["x"][:count])), file["y"][:count].astype(np.int64)


if __name__ == "__main__":
    main()
