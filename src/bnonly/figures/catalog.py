"""Which figures there are: every ``figNN.py`` of this folder (standard library only; the Snakefile imports this)."""

from pathlib import Path

from bnonly.discovery import Catalog

CATALOG = Catalog("figure", "bnonly.figures", Path(__file__).parent, r"fig\d\d", asking=("catalog.py", "request.py"))

names, module, needs, title, code_digest = (
    CATALOG.names,
    CATALOG.module,
    CATALOG.needs,
    CATALOG.title,
    CATALOG.code_digest,
)
