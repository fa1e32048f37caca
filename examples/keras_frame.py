"""A Keras classifier of two classes from a data frame; when training ends, the units behind its mistakes are ranked.

    python examples/keras_frame.py --output output

Needs: pip install 'evtkit[tensorflow,saliency]' pandas scikit-learn
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
from evtkit_keras import SaliencyCallback
from sklearn.datasets import load_breast_cancer

layers = keras.layers


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("output"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)

    frame = load_breast_cancer(as_frame=True).frame.sample(frac=1.0, random_state=0)
    y = frame.pop("target").astype(float)  # 1.0 for a benign tumour, as data frames often have labels
    columns = frame.columns[:6]  # few enough that mistakes are left
    x = frame[columns].to_numpy("float32")
    training, test = slice(0, 350), slice(350, None)

    normal = layers.Normalization()
    normal.adapt(x[training])
    hidden = [layers.Dense(16, activation="relu", name="first"), layers.Dense(8, activation="relu", name="second")]
    model = keras.Sequential(
        [keras.Input((len(columns),)), normal, *hidden, layers.Dense(1, activation="sigmoid", name="says")]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])

    saliency = SaliencyCallback(
        (x[training], y[training].to_numpy()), (x[test], y[test].to_numpy()), units="rows", k=10,
        report=options.output / "frame.html", progress=False,
    )  # fmt: skip
    stop = keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)
    model.fit(
        x[training], y[training], validation_data=(x[test], y[test]), epochs=options.epochs, batch_size=32, verbose=0,
        callbacks=[saliency, stop],
    )  # fmt: skip
    print(saliency.net)
    print(f"right: {saliency.accuracy:.3f}")
    print(saliency.ranking)


if __name__ == "__main__":
    main()
