"""What every adapter for a neural framework shares. An adapter supplies hooks, and what only its framework can do.

- `Network`: what a network is made of. Hooks: its parameters by name, and the layers that could give units.
- `Profiler`: what is run through it. Hooks: class scores, and the ordinary gradient of a batch. A profile made of
  single samples' gradients is exact and slow; a framework that captures what goes in and comes back overrides it.
- `NetworkModel`: the class that users see, on top of the two.

Beside them: `Lanes` (how a parameter falls into units), `Plan` (a network's units), `Holders` and `LayerTypes` (what is
known of layer types), `Block` (what a rule returns), `Patches`, and the reduction of an ordinary gradient, which
verification and `input_saliency` use, too. Nothing here imports a framework or SciPy, and
Numba is only used where it is installed, for sums over large arrays.
"""

from evtkit.saliency.adapting.arrays import Arrays
from evtkit.saliency.adapting.batch import Batch
from evtkit.saliency.adapting.input_maps import input_saliency
from evtkit.saliency.adapting.lanes import Lanes
from evtkit.saliency.adapting.last import LastLayer
from evtkit.saliency.adapting.layers import Holder, Holders, LayerTypes, lanes_along, resolve, single
from evtkit.saliency.adapting.model import NetworkModel, check_options
from evtkit.saliency.adapting.network import Network
from evtkit.saliency.adapting.patches import NetworkGradient, Patches, write_repair
from evtkit.saliency.adapting.plan import Candidate, Chooser, Plan, Weight, make_plan
from evtkit.saliency.adapting.products import one_pass
from evtkit.saliency.adapting.profiler import NOISE, Profiler
from evtkit.saliency.adapting.reduction import REDUCTIONS, Reduction, finish, reduce_gradient, unit_totals
from evtkit.saliency.adapting.rules import Block
from evtkit.saliency.adapting.verification import SAMPLES, verify
from evtkit.saliency.adapting.weighting import BASE, HALF_BASE, Due, loss_weights

__all__ = [
    "BASE",
    "HALF_BASE",
    "NOISE",
    "REDUCTIONS",
    "SAMPLES",
    "Arrays",
    "Batch",
    "Block",
    "Candidate",
    "Chooser",
    "Due",
    "Holder",
    "Holders",
    "Lanes",
    "LastLayer",
    "LayerTypes",
    "Network",
    "NetworkGradient",
    "NetworkModel",
    "Patches",
    "Plan",
    "Profiler",
    "Reduction",
    "Weight",
    "check_options",
    "finish",
    "input_saliency",
    "lanes_along",
    "loss_weights",
    "make_plan",
    "one_pass",
    "reduce_gradient",
    "resolve",
    "single",
    "unit_totals",
    "verify",
    "write_repair",
]
