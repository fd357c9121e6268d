"""Words of the report: lists, durations, and names for ids."""

from __future__ import annotations

from collections.abc import Iterable


def slug(text: str) -> str:
    """Return a word for ids and classes."""
    return text.replace(" ", "-").replace("/", "-")


def listed(words: Iterable[str]) -> str:
    """Return "a, b and c"."""
    found = list(words)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}" if found else ""


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:,.1f} days"
