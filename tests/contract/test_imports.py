"""Which room of the package may import which (docs/architecture.md)."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src/bnonly"
#: The rooms from the ground up.  A module imports its own room and the rooms of lower layers.
LAYERS = [
    {"errors", "paths", "console", "machine", "seeds"},
    {"config"},
    {"grid"},
    {"results", "paper"},
    {"networks", "data", "cost", "figures"},
    {"engines", "verdicts", "cluster"},
    {"train", "analysis", "report"},
    {"commands", "python"},
    {"workflow", "__main__"},
]
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
#: Libraries that take long to import, or that a room has no business with, and who may import them at the top of a file.
LIBRARIES = {
    "yaml": {"config", "paper"},
    "pydantic": {"config", "grid"},
    "numpy": {"seeds", "results", "data", "figures", "networks", "engines", "verdicts"},
    "pyarrow": {"results", "data", "figures", "verdicts"},
    "torch": {"seeds", "networks", "data", "engines", "train", "analysis", "verdicts.structure"},
    "torchvision": {"networks", "data"},
    "numba": {"engines.fast.numba_batchnorm"},
    "pandas": {"figures"},
    "matplotlib": {"figures"},
    "scipy": {"figures"},
    "jinja2": {"report"},
    "safetensors": {"networks"},
    "PIL": {"data"},
    "sklearn": set(),
    "triton": {"engines.triton"},
}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if name != "__init__":
            yield name.removesuffix(".__init__"), path


MODULES = dict(modules())


def imported(path, everywhere):
    """Names of modules imported at the top of a file, or anywhere in it."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # A name that is imported may be a module.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(path, everywhere=True):
    """Modules of this package that a file imports, inside functions as well."""
    for name in imported(path, everywhere):
        parts = name.split(".")
        if parts[0] != "bnonly":
            continue
        while len(parts) > 1 and ".".join(parts[1:]) not in MODULES:
            parts.pop()
        if len(parts) > 1:
            yield ".".join(parts[1:])


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name):
    room = name.split(".")[0]
    assert room in LAYER, f"{name} is in no layer: give its room one here and in docs/architecture.md"
    for other in own(MODULES[name]):
        other_room = other.split(".")[0]
        assert room == other_room or LAYER[other_room] < LAYER[room], f"{name} imports {other}"


@pytest.mark.parametrize("name", MODULES)
def test_heavy_libraries_are_imported_where_they_belong(name):
    for module in imported(MODULES[name], everywhere=False):
        library = module.split(".")[0]
        allowed = LIBRARIES.get(library)
        if allowed is not None:
            assert any(f"{name}.".startswith(f"{room}.") for room in allowed), f"{name} imports {library} at its top"


def test_no_circle_of_files():
    graph = {name: {other for other in own(path) if other != name} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        raise AssertionError(" -> ".join(circle.args[1])) from None


def test_drawing_never_imports_torch():
    for name, path in MODULES.items():
        if name.startswith("figures"):
            assert not any(m.split(".")[0] == "torch" for m in imported(path, everywhere=True)), name


def test_a_figure_imports_no_other_figure():
    for path in PACKAGE.glob("figures/fig*.py"):
        assert not [m for m in own(path) if m.startswith("figures.fig")], path.name


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("figures/fig*.py")), ids=lambda p: p.stem)
def test_a_figure_has_needs_and_draw(path):
    tree = ast.parse(path.read_text())
    names = {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    assert names | {n.name for n in tree.body if isinstance(n, ast.FunctionDef)} == {"NEEDS", "draw"}
