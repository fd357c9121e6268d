"""Which tables there are: every ``table*.py`` and ``text_*.py`` of this folder (standard library only)."""

from pathlib import Path

from bnonly import families
from bnonly.discovery import Catalog
from bnonly.figures import data

#: Made of the parameter counts, ``results/counts.csv``.
COUNTED = ("table1", "table_c2")

CATALOG = Catalog(
    "table",
    "bnonly.tables",
    Path(__file__).parent,
    r"table\w+|text_\w+",
    asking=("catalog.py",),
    beyond=(data.__file__, families.__file__),
)

names, module, needs, title, code_digest = (
    CATALOG.names,
    CATALOG.module,
    CATALOG.needs,
    CATALOG.title,
    CATALOG.code_digest,
)
