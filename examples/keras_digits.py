"""A small Keras network meets turned digits: which filters are behind its mistakes, and what does changing them do?

Needs TensorFlow, scikit-learn, Matplotlib and Jinja; runs in about a minute:

    python examples/keras_digits.py --output output
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from evtkit_keras import SaliencyCallback
from evtkit_keras.input_saliency import input_saliency
from scipy.ndimage import rotate
from sklearn.datasets import load_digits

from evtkit import plot
from evtkit.saliency import evaluate, held_out_split, report

layers = keras.layers


def small_cnn() -> keras.Sequential:
    def layer(number: int, filters: int) -> list[keras.layers.Layer]:
        convolution = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{number}")
        return [convolution, layers.BatchNormalization(momentum=0.9, name=f"norm{number}"), layers.ReLU()]

    return keras.Sequential(
        [
            keras.Input((8, 8, 1)), *layer(1, 12), *layer(2, 12), layers.MaxPooling2D(), *layer(3, 24), *layer(4, 48),
            layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax", name="head"),
        ]
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--angle", type=float, default=20.0, help="degrees by which the digits are turned")
    parser.add_argument("--repairs", type=int, default=20, help="mistakes to repair one by one")
    parser.add_argument("--output", type=Path, default=Path("output"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)

    # Three parts that do not overlap: to train, to learn what is usual, and to make mistakes on.
    digits = load_digits()
    x, y = (digits.images / 16).astype(np.float32)[..., None], digits.target.astype(np.int64)
    training, rest = held_out_split(y, 0.6, seed=0)
    usual, test = (rest[part] for part in held_out_split(y[rest], 0.5, seed=1))
    upright, labels = x[test], y[test]
    turned = rotate(upright, options.angle, axes=(1, 2), reshape=False, order=1)

    # What is usual, how much of a sample's loss each filter accounts for, is learned when the training ends. One
    # ranking for half of the samples; the mistakes of the other half will judge it.
    saliency = SaliencyCallback((x[usual], y[usual]), (turned[::2], labels[::2]))
    network = small_cnn()
    network.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    network.fit(x[training], y[training], batch_size=64, epochs=12, verbose=0, callbacks=[saliency])
    net, reference, ranking = saliency.net, saliency.reference, saliency.ranking
    wrong = np.flatnonzero(net.predict(turned).argmax(1) != labels)
    seen, unseen = wrong[wrong % 2 == 0], wrong[wrong % 2 == 1]
    print(net)
    print(f"right on upright digits: {(net.predict(upright).argmax(1) == labels).mean():.3f}, "
          f"turned by {options.angle:g} degrees: {1 - len(wrong) / len(labels):.3f}\n")  # fmt: skip
    print(reference)
    print(f"\n{ranking.table(10)}\n\n{ranking.enrichment(25, by='module')}\n")

    # One repair for all: a gradient step of the first 25 filters.
    with net.tuned(ranking.top(25), turned[seen], labels[seen], step=1e-3):
        for name, images, truth in (
            ("mistakes it was made from", turned[seen], labels[seen]),
            ("other mistakes", turned[unseen], labels[unseen]),
            ("upright digits", upright, labels),
        ):
            right = (net.predict(images).argmax(1) == truth).mean()
            print(f"after one step of 25 filters, right on {name}: {right:.3f}")

    # Each mistake for itself, by every ranking, and what that costs on upright digits.
    some = seen[: options.repairs]
    results = evaluate(
        net, reference, (turned[some], labels[some]), held_out=(upright[:200], labels[:200]), prune=(1, 5, 10, 25, 50),
        tune=(1, 5, 10, 25), equal_norm=True, collateral_k=(5, 25), batch_size=len(some),
    )  # fmt: skip
    print(f"\n{results.table((5, 25))}")

    one = seen[:1]
    heat = input_saliency(net, turned[one], labels[one], reference, units=ranking.top(10))
    picture = plot.input_saliency(1 - turned[one][0, ..., 0], heat[0])
    pictures = [(picture, "A mistake, and the pixels its filters look at.")]
    page = report(options.output / "digits.html", reference, ranking=ranking, results=results,
                  families=reference.compare_families(), pictures=pictures)  # fmt: skip
    print(f"\n{page}")


if __name__ == "__main__":
    main()
