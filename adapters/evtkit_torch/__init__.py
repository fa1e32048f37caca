"""evtkit for PyTorch: per-sample gradient profiles of a network's units, and patches of them.

`TorchModel` is the whole of it for users of PyTorch's own layers; `register` and `register_heads` teach it others.
"""

from evtkit_torch.layers import register_heads
from evtkit_torch.model import TorchModel
from evtkit_torch.patches import TorchUnitGradient, apply_repair
from evtkit_torch.rules import Block, Use, register

__all__ = ["Block", "TorchModel", "TorchUnitGradient", "Use", "apply_repair", "register", "register_heads"]
