"""Which tables there are: every ``table*.py`` and ``text_*.py`` of this folder (standard library only)."""

from __future__ import annotations

import hashlib
import importlib
import re
from pathlib import Path
from types import ModuleType

from bnonly import families
from bnonly.errors import UserError, accepted
from bnonly.figures import data
from bnonly.figures.request import Need

FOLDER = Path(__file__).parent

#: Not part of `figures/all`: their cells are trained on request only.
ON_REQUEST = ("text_only",)
#: Made of the parameter counts, ``results/counts.csv``.
COUNTED = ("table1", "table_c2")

_PATTERN = re.compile(r"table\w+|text_\w+")


def names() -> list[str]:
    """Return the names of all tables."""
    return sorted(p.stem for p in FOLDER.glob("*.py") if _PATTERN.fullmatch(p.stem))


def module(name: str) -> ModuleType:
    """Import a table's module.

    Raises
    ------
    UserError
        If there is no such table.
    """
    if name not in names():
        raise UserError(f"table {name}: there is none of that name; {accepted(name, names())}")
    return importlib.import_module(f"bnonly.tables.{name}")


def needs(name: str) -> tuple[Need, ...]:
    """Return the panels of a table."""
    return tuple(module(name).NEEDS)


def title(name: str) -> str:
    """Return what a table shows, in one line: the first of its docstring."""
    return (module(name).__doc__ or name).strip().splitlines()[0]


def code_digest(name: str) -> str:
    """Return the SHA-256 of the code that makes a table: its own file, what all tables share, and the families."""
    module(name)
    shared = [p for p in FOLDER.glob("*.py") if not _PATTERN.fullmatch(p.stem) and p.name != "catalog.py"]
    digest = hashlib.sha256()
    for path in sorted([FOLDER / f"{name}.py", *shared, Path(data.__file__), Path(families.__file__)]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
