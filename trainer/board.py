"""TensorBoard files of one run; derived from its rows, never read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class TensorBoard:
    """Writes scalars under `directory`; nothing at all where it is not enabled.

    Args:
        directory: The run's `tb` folder.
        enabled: `logging.enable_tensorboard`.
        first_step: Later steps of an earlier attempt are hidden from here on.
    """

    def __init__(self, directory: Path, enabled: bool, first_step: int) -> None:
        self._writer: Any = None
        if enabled:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(directory), purge_step=first_step + 1)

    def row(self, step: int, metrics: dict[str, float]) -> None:
        """Write the metrics of one step."""
        if self._writer is not None:
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is buffered."""
        if self._writer is not None:
            self._writer.close()
