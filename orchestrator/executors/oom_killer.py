"""Whether the kernel of this machine killed processes because host memory had run out."""

from __future__ import annotations

import re
from pathlib import Path

COUNTERS = Path("/proc/vmstat")
"""Its line `oom_kill` counts the processes that were killed since boot, in any cgroup."""

SHORT_OF_MEMORY = (
    "its process died, and the kernel has killed for want of host memory"
    " (hint: tier.micro_batch=1 needs less, tier.cpus=N with a larger N runs fewer at once)"
)


class OomKiller:
    """Looks from time to time; other machines of a cluster are not seen.

    Args:
        counters: The kernel's.
    """

    def __init__(self, counters: Path = COUNTERS) -> None:
        self._counters = counters
        self._kills = self._count()

    def why_died(self) -> str:
        """Return a sentence about a process that has just died; memory only where it was that."""
        before, self._kills = self._kills, self._count()
        return SHORT_OF_MEMORY if self._kills > before else "its process died"

    def _count(self) -> int:
        try:
            found = re.search(r"^oom_kill (\d+)$", self._counters.read_text(), re.MULTILINE)
        except OSError:
            return 0
        return int(found[1]) if found else 0
