"""Which errors say that the disk takes no more: they are no fault of a run."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from safetensors import SafetensorError

TAKES_NO_MORE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


def takes_no_more(error: BaseException) -> bool:
    """Return whether an error says that nothing can be written, by this run or by another."""
    return isinstance(error, OSError) and error.errno in TAKES_NO_MORE


def of_the_system(error: SafetensorError, file: Path) -> OSError:
    """Return what the system said when safetensors could not write a file."""
    found = re.search(r"os error (\d+)", str(error))
    if found is None:
        return OSError(errno.EIO, str(error), str(file))
    number = int(found.group(1))
    return OSError(number, os.strerror(number), str(file))
