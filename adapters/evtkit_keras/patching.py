"""Patching: layer types that compute differently within a context, and only there.

Keras calls ``type(layer).call``, also from a subclass's own ``call`` and from wrappers, so the type is the one place
where every use of a layer can be seen. Only this thread's calls are changed, and one thread patches at a time.
"""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from evtkit_keras.network import KerasNetwork

__all__ = ["inference", "patched"]

_PATCHING = threading.RLock()


@contextmanager
def patched(layer_type: type, compute: Callable[[Callable[..., Any], Any, Any, Any], Any]) -> Iterator[None]:
    """Let a layer type's ``call`` go through ``compute(original, layer, args, kwargs)``."""
    with _PATCHING:
        thread = threading.get_ident()
        original = layer_type.call  # type: ignore[attr-defined]  # every layer type has it
        inherited = "call" not in vars(layer_type)

        @functools.wraps(original)
        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread:
                return original(layer, *args, **kwargs)
            return compute(original, layer, args, kwargs)

        layer_type.call = call  # type: ignore[attr-defined]  # likewise
        try:
            yield
        finally:
            if inherited:
                del layer_type.call  # type: ignore[attr-defined]  # likewise
            else:
                layer_type.call = original  # type: ignore[attr-defined]  # likewise


def _as_many(original: Callable[..., Any], layer: Any, args: Any, kwargs: Any) -> Any:
    """A text's tokens, as many rows as there are texts, which a graph would forget."""
    tokens, texts = original(layer, *args, **kwargs), args[0] if args else kwargs["inputs"]
    if isinstance(tokens, tf.Tensor) and isinstance(texts, tf.Tensor) and texts.shape.rank:
        tokens.set_shape([texts.shape[0], *tokens.shape[1:]])
    return tokens


@contextmanager
def inference(network: KerasNetwork) -> Iterator[None]:
    """Refuse, at the end, a forward pass in which a batch norm was to normalise by its batch: samples would mix.

    It normalises by its moving statistics meanwhile, which stay what they are.

    Raises
    ------
    RuntimeError
        If there was one.
    """
    names = {id(layer): name for name, layer in network.layers.items()}
    mixing: list[str] = []

    def compute(original: Callable[..., Any], layer: Any, args: Any, kwargs: Any) -> Any:
        if layer.trainable and (kwargs.get("training") or (len(args) > 1 and args[1])):
            mixing.append(names.get(id(layer), layer.name))
            args, kwargs = args[:1], {**kwargs, "training": False}
        return original(layer, *args, **kwargs)

    with patched(keras.layers.BatchNormalization, compute), patched(keras.layers.TextVectorization, _as_many):
        yield
    if mixing:
        raise RuntimeError(
            f"layers must be in inference, got {', '.join(dict.fromkeys(mixing))} called with training=True: a batch "
            "norm that normalises by its batch mixes samples"
        )
