"""Every random number of a run, as a function of (seed, stream, position).

No generator lives from one step to the next, so a resumed run needs no sampler state.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


class Stream(IntEnum):
    """What a random number is for; streams of one seed are independent."""

    INIT = 1  # initial weights
    SPLIT = 2  # which examples are held out
    ORDER = 3  # what a batch holds
    DROPOUT = 4  # which units are dropped
    EVALUATION = 5  # which prefixes a quick evaluation continues
    SAMPLE = 6  # which token continues a prompt
    VIEW = 7  # how a planet is shown this time


def generator(seed: int, stream: Stream, position: int = 0) -> np.random.Generator:
    """Return NumPy's counter-based generator for one position of one stream."""
    import numpy as np

    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, position]))


def torch_seed(seed: int, stream: Stream, *position: int) -> int:
    """Return a 63-bit seed for torch, well mixed from its arguments."""
    text = ",".join(str(int(x)) for x in (seed, stream, *position))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def torch_generator(seed: int, stream: Stream, *position: int) -> torch.Generator:
    """Return a CPU generator for torch."""
    import torch

    return torch.Generator().manual_seed(torch_seed(seed, stream, *position))
