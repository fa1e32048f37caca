"""evtkit for PyTorch: per-sample gradient profiles of a network's units, and patches of them.

`TorchModel` is the whole of it for users of PyTorch's own layers; `register` and `register_heads` teach it others.
`evtkit_torch.lightning` and `evtkit_torch.trainer` have callbacks for Lightning and for the Hugging Face Trainer.
"""

from evtkit.saliency.adapting import Block
from evtkit_torch.attribution import InputAttribution, UnitAttribution
from evtkit_torch.layers import register_heads
from evtkit_torch.model import TorchModel, TorchUnitGradient, apply_repair
from evtkit_torch.pruning import apply_masks, masks
from evtkit_torch.rules import Use, register
from evtkit_torch.samples import batches

__all__ = [
    "Block",
    "InputAttribution",
    "TorchModel",
    "TorchUnitGradient",
    "UnitAttribution",
    "Use",
    "apply_masks",
    "apply_repair",
    "batches",
    "masks",
    "register",
    "register_heads",
]
