"""Imports go one way (docs/architecture.md)."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src/bnonly"
#: What a module may import of this package, and of heavy libraries, at its top; longest prefix counts.
WORDS = {"errors", "families", "datasets", "paths"}
IDENTITY = WORDS | {"spec", "schedule", "fit", "configuration", "nodes", "sections", "grid"}
FILES = IDENTITY | {"schemas", "store", "lock"}
COMPUTING = FILES | {
    "seeds",
    "archs",
    "regimes",
    "data",
    "evaluate",
    "weights",
    "devices",
    "progress",
    "counts",
    "fast",
}
ALLOWED = {
    "errors": (set(), set()),
    "families": (WORDS, set()),
    "datasets": (WORDS, set()),
    "paths": (set(), set()),
    "spec": (WORDS, set()),
    "schedule": ({"spec"}, set()),
    "configuration": (WORDS, {"yaml"}),
    "fit": (WORDS | {"spec"}, set()),
    "nodes": (WORDS | {"spec", "configuration"}, set()),
    "sections": (IDENTITY - {"grid"}, set()),
    "grid": (IDENTITY, set()),
    "store": (WORDS, set()),
    "lock": (WORDS, set()),
    "cluster": (IDENTITY | {"store", "lock", "cluster", "cost", "outputs", "figures"}, set()),
    "prune": (IDENTITY | {"store", "lock"}, set()),
    "schemas": (IDENTITY, {"numpy", "pyarrow"}),
    "seeds": (WORDS, {"numpy", "torch"}),
    "archs": (IDENTITY | {"archs"}, {"torch", "torchvision"}),
    "regimes": (IDENTITY | {"archs", "seeds"}, {"numpy", "torch"}),
    "data": (FILES | {"seeds", "data"}, {"numpy", "torch", "torchvision", "pyarrow", "PIL"}),
    "evaluate": (IDENTITY, {"torch"}),
    "weights": (FILES | {"regimes"}, {"torch", "safetensors"}),
    "kernels": ({"kernels", "archs"}, {"torch"}),
    "kernels.checks": (WORDS | {"kernels", "archs"}, {"torch"}),
    "fast": (WORDS | {"archs", "fast", "regimes", "cost", "spec"}, {"torch"}),
    "fast.compiled": (set(), {"numba", "numpy", "torch"}),
    "train": (COMPUTING | {"train", "cost", "lock", "store"}, {"torch"}),
    "analysis": (COMPUTING | {"analysis"}, {"torch"}),
    "counts": (COMPUTING, {"torch"}),
    "discovery": (WORDS, set()),
    "figures.request": (IDENTITY | {"grid"}, set()),
    "figures": (FILES | {"figures", "discovery"}, {"numpy", "pandas", "matplotlib", "scipy", "pyarrow"}),
    "tables": (FILES | {"figures", "tables", "discovery"}, {"numpy", "pandas"}),
    "outputs": (IDENTITY | {"store", "figures", "tables", "discovery"}, set()),
    **{f"claims.{name}": (IDENTITY | {"claims"}, set()) for name in ("catalog", "claim", "reader", "vocabulary")},
    "claims.networks": (COMPUTING | {"claims"}, {"torch"}),
    "claims": (FILES | {"claims", "tables"}, {"numpy", "pyarrow"}),
    "report": (FILES | {"cost", "claims", "figures", "tables", "outputs", "report"}, {"jinja2"}),
    "manifest": (FILES | {"figures", "outputs"}, set()),
    "status": (FILES | {"outputs", "figures", "cluster", "progress", "train"}, set()),
    "cost": (IDENTITY | {"cost"}, set()),
    "cost.table": (IDENTITY | {"cost", "figures", "outputs"}, set()),
    "compare": (FILES, set()),
    "sharing": (FILES | {"outputs", "store"}, set()),
    "devices": (WORDS, {"torch"}),
    "progress": (IDENTITY, set()),
    "warm": (set(), set()),
    "commands": (IDENTITY | {"store"}, set()),
    "cli": (WORDS | {"commands", "warm"}, set()),
}
HEAVY = {
    "numpy",
    "torch",
    "torchvision",
    "pandas",
    "matplotlib",
    "scipy",
    "pyarrow",
    "safetensors",
    "yaml",
    "PIL",
    "sklearn",
    "jinja2",
    "numba",
}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        yield name.removesuffix(".__init__") if name != "__init__" else "", path


def imported(path, everywhere):
    """Names of modules imported at the top of a file, or anywhere in it."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(n)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for n in ast.walk(node)
    }
    for node in ast.walk(tree) if everywhere else tree.body:
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "bnonly":
                yield from (f"bnonly.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize(("name", "path"), [m for m in modules() if m[0] not in ("", "__main__")])
def test_imports_go_one_way(name, path):
    rule = max((k for k in ALLOWED if name == k or name.startswith(k + ".")), key=len, default=None)
    assert rule, f"{name} has no place in docs/architecture.md and here"
    own, libraries = ALLOWED[rule]
    for module in imported(path, everywhere=False):
        top, _, rest = module.partition(".")
        if top == "bnonly":
            assert not rest or rest.split(".")[0] in own or rest == name, f"{name} imports {module}"
        elif top in HEAVY:
            assert top in libraries, f"{name} imports {module}"


def test_no_packages_import_one_another():
    graph = {}
    for name, path in modules():
        package = name.split(".")[0]
        own = {m.split(".")[1] for m in imported(path, everywhere=False) if m.startswith("bnonly.")}
        graph.setdefault(package, set()).update(own - {package})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as problem:
        pytest.fail(f"{' <- '.join(problem.args[1])}: imports go one way")


@pytest.mark.parametrize(("name", "path"), [m for m in modules() if m[0].startswith(("figures", "tables", "outputs"))])
def test_drawing_never_imports_torch(name, path):
    found = {m.split(".")[0] for m in imported(path, everywhere=True)}
    assert not found & {"torch", "torchvision"}
    assert not {
        m
        for m in imported(path, everywhere=True)
        if m.startswith(("bnonly.train", "bnonly.networks.regimes", "bnonly.data."))
    }


@pytest.mark.parametrize(("name", "path"), [m for m in modules() if m[0].startswith("figures.fig")])
def test_a_figure_imports_no_other_figure(name, path):
    assert not [m for m in imported(path, everywhere=True) if m.startswith("bnonly.figures.fig")]
