"""The list of figures and tables, found by their file names (standard library only; the Snakefile imports this)."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from bnonly.errors import UserError, accepted
from bnonly.grid import families

HERE = Path(__file__).parent
#: The numbers that figures show, computed from the files of cells.
METRICS = HERE.parent / "results/metrics.py"
#: Tables of parameter counts, which read ``results/counts.csv``.
COUNTED = ("table1", "table_c2")
#: Files here that determine a figure's request, not its drawing; the request already reflects a change to them.
_ASKING = [HERE / name for name in ("catalog.py", "make.py", "manifest.py", "needs.py", "outputs.py", "staleness.py")]


def sources(folder: Path) -> list[Path]:
    """Return the files of a package and its subpackages: code, data, templates."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def digest_of(files: Iterable[Path]) -> str:
    """Return the SHA-256 of some files of the package, names included."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@dataclass(frozen=True)
class Catalog:
    """The modules of one folder; each makes one figure or table.

    Attributes
    ----------
    kind : str
        The product, for messages: "figure" or "table".
    package : str
        The package of the modules.
    folder : Path
        Its folder.
    pattern : str
        Regular expression of their files' names.
    shared : tuple of Path
        Files and folders whose code helps to make every one of them.
    prefix : str
        Prefix of the figure's name before the file's name.
    """

    kind: str
    package: str
    folder: Path
    pattern: str
    shared: tuple[Path, ...] = field(default=())
    prefix: str = ""

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self.prefix + p.stem for p in self.folder.glob("*.py") if re.fullmatch(self.pattern, p.stem))

    def module(self, name: str) -> ModuleType:
        """Import one module.

        Raises
        ------
        UserError
            If no module has that name.
        """
        if name not in self.names():
            raise UserError(f"no {self.kind} is called {name}; {accepted(name, self.names())}")
        return importlib.import_module(f"{self.package}.{name.removeprefix(self.prefix)}")

    def needs(self, name: str) -> tuple[Any, ...]:
        """Return the `bnonly.figures.needs.Need` of each panel."""
        return tuple(self.module(name).NEEDS)

    def title(self, name: str) -> str:
        """Return the first line of the module's docstring, which describes the figure or table."""
        return (self.module(name).__doc__ or name).strip().splitlines()[0]

    def file(self, name: str) -> Path:
        """Return the file of one figure or table, which states its needs and draws it."""
        self.module(name)
        return self.folder / f"{name.removeprefix(self.prefix)}.py"

    def code_digest(self, name: str) -> str:
        """Return the SHA-256 of the code for one figure or table: its own file and the shared files.

        Editing one figure's file redraws that figure alone; editing the style redraws all of them.
        """
        own = [self.file(name)]
        shared = [p for path in self.shared for p in (sources(path) if path.is_dir() else [path])]
        return digest_of(p for p in own + shared if p not in _ASKING)


FIGURES = Catalog(
    "figure",
    "bnonly.figures",
    HERE,
    r"fig\d\d",
    (HERE / "values.py", METRICS, HERE / "render.py", HERE / "drawing"),
)
#: Figures beyond the paper; `figures/all` includes none of them.
BEYOND = Catalog("figure", "bnonly.figures.beyond", HERE / "beyond", r"[a-z]\w*", (*FIGURES.shared,), prefix="beyond/")
TABLES = Catalog(
    "table",
    "bnonly.figures.tables",
    HERE / "tables",
    r"table\w+|text_\w+",
    (
        *(HERE / "tables" / f"{name}.py" for name in ("__init__", "comparisons", "counts", "layout", "render")),
        HERE / "values.py",
        METRICS,
        *sorted(Path(families.__file__).parent.glob("*.py")),
    ),
)
