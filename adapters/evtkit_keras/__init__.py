"""evtkit for Keras 3 on TensorFlow: per-sample gradient profiles of a network's units, and patches of them.

`KerasModel` is the whole of it for users of Keras's own layers; `register` and `register_heads` teach it others.
"""

from typing import TYPE_CHECKING, Any

try:
    import keras  # noqa: F401  # only to say what is missing
    import tensorflow  # noqa: F401  # likewise
except ImportError as error:
    raise ImportError("evtkit_keras needs Keras 3 and TensorFlow: pip install 'evtkit[tensorflow]'") from error

from evtkit.saliency.adapting import Block
from evtkit_keras.layers import register_heads
from evtkit_keras.model import KerasModel, KerasUnitGradient, apply_repair
from evtkit_keras.rules import Diagonal, Use, register
from evtkit_keras.samples import batches

__all__ = [
    "Block",
    "Diagonal",
    "KerasModel",
    "KerasUnitGradient",
    "SaliencyCallback",
    "Use",
    "apply_repair",
    "batches",
    "register",
    "register_heads",
]

if TYPE_CHECKING:
    from evtkit_keras.callback import SaliencyCallback


def __getattr__(name: str) -> Any:
    """The callback, which loads the statistics, is loaded when it is first used."""
    if name == "SaliencyCallback":
        from evtkit_keras.callback import SaliencyCallback

        return SaliencyCallback
    raise AttributeError(f"module 'evtkit_keras' has no attribute {name!r}")
