"""What a config costs, without building it: parameters, operations, peak memory.

Closed forms, without torch: a plan of ten thousand trials asks for each. `probe.py` (which loads
torch) measures memory on fake tensors; `memory.py` is held to it.
"""

from __future__ import annotations

from trainer.footprint.memory import Memory, peak_memory
from trainer.footprint.operations import step_flops
from trainer.footprint.parameters import parameter_count

__all__ = ["Memory", "parameter_count", "peak_memory", "step_flops"]
