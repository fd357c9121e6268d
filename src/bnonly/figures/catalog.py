"""Which figures there are: every ``figNN.py`` of this folder (standard library only; the Snakefile imports this)."""

from __future__ import annotations

import hashlib
import importlib
import re
from pathlib import Path
from types import ModuleType

from bnonly.errors import UserError, accepted
from bnonly.figures.request import Need

FOLDER = Path(__file__).parent

#: These decide what is asked for, not how it is drawn; what they return reaches a figure through its request.
NOT_DRAWING = {"catalog.py", "request.py"}


def names() -> list[str]:
    """Return the names of all figures, ``fig01`` first."""
    return sorted(p.stem for p in FOLDER.glob("fig*.py") if re.fullmatch(r"fig\d\d", p.stem))


def module(name: str) -> ModuleType:
    """Import a figure's module.

    Raises
    ------
    UserError
        If there is no such figure.
    """
    if name not in names():
        raise UserError(f"figure {name}: there is none of that name; {accepted(name, names())}")
    return importlib.import_module(f"bnonly.figures.{name}")


def needs(name: str) -> tuple[Need, ...]:
    """Return the panels of a figure."""
    return tuple(module(name).NEEDS)


def title(name: str) -> str:
    """Return what a figure shows, in one line: the first of its docstring."""
    return (module(name).__doc__ or name).strip().splitlines()[0]


def code_digest(name: str) -> str:
    """Return the SHA-256 of the code that draws a figure: its own file and the drawing modules all figures share.

    Editing one figure's file so redraws that figure alone, editing the style redraws all.
    """
    module(name)
    shared = (p for p in FOLDER.glob("*.py") if not re.fullmatch(r"fig\d\d", p.stem) and p.name not in NOT_DRAWING)
    digest = hashlib.sha256()
    for path in sorted([FOLDER / f"{name}.py", *shared]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
