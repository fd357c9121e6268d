"""Unreadable images, and helpers that all preparations share."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from bnonly.errors import UserError

#: Folders beside the prepared files: unfinished files, and downloads.
PARTIAL, DOWNLOAD = ".partial", ".download"
#: Remark of a manifest on a file that was left out because it is not an image of the data set.
ASIDE = " (not an image of a class)"


def cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def versions() -> dict[str, str]:
    """Return the versions of the libraries that read and decode images."""
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in ("numpy", "pillow", "pyarrow")},
    }


def reason(problem: Exception) -> str:
    """Return a decoder's error in a few words, equal in every process, because manifests store it."""
    return re.sub(r" <_io.*|,? \S+\.cpp:\d+", "", str(problem).replace("\n", " "))[:80]


def left_out(unreadable: list[str], aside: list[str]) -> list[str]:
    """Return what a manifest lists as left out: unreadable images, and files that are not images of the data set."""
    return [*unreadable, *(path + ASIDE for path in aside)]


def refuse_unreadable(unreadable: list[str], source: Path, skip: bool) -> None:
    """Stop if images could not be read, unless they may be left out.

    Raises
    ------
    UserError
        With their number and the first of them.
    """
    if unreadable and not skip:
        named = "; ".join(unreadable[:3]) + (f" and {len(unreadable) - 3:,} more" if len(unreadable) > 3 else "")
        count = f"{len(unreadable):,} unreadable image{'s' if len(unreadable) > 1 else ''}"
        raise UserError(f"{source}: {count}: {named}; replace them, or leave them out with --skip-unreadable")
