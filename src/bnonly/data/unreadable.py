"""Images that cannot be read, and what preparations share."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from bnonly.errors import UserError

#: Folders beside the prepared files: of what is not whole yet, and of what was fetched.
PARTIAL, DOWNLOAD = ".partial", ".download"


def cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def versions() -> dict[str, str]:
    """Return the versions of what reads and decodes images."""
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in ("numpy", "pillow", "pyarrow")},
    }


def reason(problem: Exception) -> str:
    """Return in a few words what a decoder says is wrong; the same in every process, for manifests have it."""
    return re.sub(r" <_io.*|,? \S+\.cpp:\d+", "", str(problem).replace("\n", " "))[:80]


def refuse_unreadable(unreadable: list[str], source: Path, skip: bool) -> None:
    """Stop if images could not be read, unless they may be left out.

    Raises
    ------
    UserError
        Counting them and naming the first.
    """
    if unreadable and not skip:
        named = "; ".join(unreadable[:3]) + (f" and {len(unreadable) - 3:,} more" if len(unreadable) > 3 else "")
        count = f"{len(unreadable):,} unreadable image{'s' if len(unreadable) > 1 else ''}"
        raise UserError(f"{source}: {count}: {named}; replace them, or leave them out with --skip-unreadable")
