"""No function takes a train of parameters, no file grows without a reason."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/bnonly"
PARAMETERS, LINES = 6, 450
#: What launches Triton's kernels takes their arguments: tensors, sizes, strides.
LAUNCHERS = {
    "engines/triton/augmentation.py:augment",
    "engines/triton/batchnorm.py:apply",
    "engines/triton/batchnorm.py:backward",
    "engines/triton/batchnorm.py:bn_relu",
    "engines/triton/batchnorm.py:reduce",
    "engines/triton/convolution.py:backward",
    "engines/triton/convolution.py:forward",
    "engines/triton/convolution.py:weight_gradient",
    "engines/triton/optimiser.py:sgd_step",
}
#: Files above 450 lines, and why.
LONG = {
    "src/bnonly/engines/fast/numba_batchnorm.py": "the one file that imports Numba, with its kernels",
    "src/bnonly/engines/triton/batchnorm.py": "kernels of one pass each, with their launchers",
    "src/bnonly/engines/triton/convolution.py": "kernels of one pass each, with their launchers",
    "benchmarks/kernels.py": "a case a kernel",
}


def is_compiled(function):
    """Whether a function is a kernel of Triton or Numba, whose arguments are tensors, sizes and strides."""
    return any(re.match(r"triton\.jit|_compiled\(", ast.unparse(d)) for d in function.decorator_list)


def functions(tree, inside=""):
    """Names and parameters of all functions, but for kernels and the passes of autograd functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            given = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            names = [n for n in given if n not in ("self", "cls")]
            if not is_compiled(node) and given[:1] != ["ctx"]:
                yield inside + node.name, names
            yield from functions(node, f"{inside}{node.name}.")
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{inside}{node.name}.")
        else:
            yield from functions(node, inside)


def test_no_function_takes_more_than_six_parameters():
    many = {
        f"{path.relative_to(PACKAGE)}:{name}"
        for path in PACKAGE.rglob("*.py")
        for name, parameters in functions(ast.parse(path.read_text()))
        if len(parameters) > PARAMETERS
    }
    assert sorted(many - LAUNCHERS) == []
    assert sorted(LAUNCHERS - many) == [], "take it off the list"


def test_no_file_is_longer_than_450_lines():
    files = [path for folder in ("src", "benchmarks", "tests", "workflow") for path in (ROOT / folder).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    long = {name for name, lines in lengths.items() if lines > LINES}
    assert sorted(long - LONG.keys()) == []
    assert sorted(LONG.keys() - long) == [], "take it off the list"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("class A:\n def f(self, a, *, b): pass", [("A.f", ["a", "b"])]),
        ("@triton.jit\ndef k(a): pass\ndef g():\n def h(c): pass", [("g", []), ("g.h", ["c"])]),
        ("class F:\n @staticmethod\n def forward(ctx, a): pass", []),
    ],
)
def test_parameters_are_counted(text, found):
    assert list(functions(ast.parse(text))) == found
