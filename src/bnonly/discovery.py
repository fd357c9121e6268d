"""Modules found by their file names: the figures and the tables (standard library only; the Snakefile imports this)."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from bnonly.errors import UserError, accepted


def digest_of(*folders: Path) -> str:
    """Return the SHA-256 of everything in some folders of the package: code, data, templates."""
    digest = hashlib.sha256()
    for path in sorted(p for folder in folders for p in folder.iterdir() if p.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


class Catalog:
    """The modules of one package that each make one thing.

    Parameters
    ----------
    kind : str
        What they make, for messages: "figure".
    package : str
        Where they are.
    folder : Path
        The package's folder.
    pattern : str
        Regular expression of their names.
    asking : sequence of str
        Files of the package that decide what is asked for, not how it is made; what they return reaches a figure through its
        request.
    beyond : sequence of str
        Files elsewhere that take part in making.
    """

    def __init__(
        self, kind: str, package: str, folder: Path, pattern: str, asking: Sequence[str], beyond: Sequence[str] = ()
    ) -> None:
        self.kind, self.package, self.folder = kind, package, folder
        self._pattern, self._asking, self._beyond = re.compile(pattern), asking, [Path(b) for b in beyond]

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(p.stem for p in self.folder.glob("*.py") if self._pattern.fullmatch(p.stem))

    def module(self, name: str) -> ModuleType:
        """Import one.

        Raises
        ------
        UserError
            If there is none of that name.
        """
        if name not in self.names():
            raise UserError(f"{self.kind} {name}: there is none of that name; {accepted(name, self.names())}")
        return importlib.import_module(f"{self.package}.{name}")

    def needs(self, name: str) -> tuple[Any, ...]:
        """Return the `bnonly.figures.request.Need` of each panel."""
        return tuple(self.module(name).NEEDS)

    def title(self, name: str) -> str:
        """Return what one shows, in one line: the first of its docstring."""
        return (self.module(name).__doc__ or name).strip().splitlines()[0]

    def code_digest(self, name: str) -> str:
        """Return the SHA-256 of the code that makes one: its own file and what all of the package share.

        Editing one figure's file so redraws that figure alone, editing the style redraws all.
        """
        self.module(name)
        shared = [
            p for p in self.folder.glob("*.py") if not self._pattern.fullmatch(p.stem) and p.name not in self._asking
        ]
        digest = hashlib.sha256()
        for path in sorted([self.folder / f"{name}.py", *shared, *self._beyond]):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()
