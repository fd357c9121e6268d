"""A run and its archive, for the tests of archives; a test module imports the two fixtures by name."""

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from bnonly import paths
from bnonly.commands import cli
from bnonly.figures import outputs, staleness
from bnonly.grid.resolve import resolve
from bnonly.results import archive
from tests.figures.synthetic import write_one
from tests.mini import mini, write

CONFIG = mini()
GRID = resolve(CONFIG)
TRAINED = "results/ResNet-8-c4/bn/seed0"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run: one cell really trained and analysed, four with invented results, one not trained; and its archive."""
    folder = tmp_path_factory.mktemp("made")
    config = write(folder, CONFIG)
    here = ["--config", str(config), "-C", str(folder)]
    before = Path.cwd()
    try:
        assert cli.main([*here, "train", "ResNet-8-c4", "bn", "--quiet"]) == 0
        assert cli.main([*here, "analyse", "ResNet-8-c4", "bn"]) == 0
        for key, cell in GRID.cells.items():
            if key not in (("ResNet-8-c4", "bn", 0), ("ResNet-14-c4", "rand2", 0)):
                for kind in ("metrics", "batchnorm", "clamping", "activations"):
                    write_one(folder, cell, kind)
        assert cli.main([*here, "counts"]) == 0
        paths.FIGURES.mkdir()
        for file in outputs.files("fig05"):
            Path(file).write_text("x\n")
        staleness.record("fig05", staleness.made_from(outputs.ask(GRID, "fig05")), outputs.files("fig05"))
        assert cli.main([*here, "export", str(folder / "all.zip")]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run a command in an empty run's folder with the same configuration; return (status, output, errors)."""
    config = write(tmp_path, CONFIG)
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.chdir(run)

    def do(*arguments, config=config):
        status = cli.main(["--config", str(config), "-C", str(run), *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return do


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    }


def rewritten(source, target, change=lambda name, content: content, more=(), sums=True):
    """An archive with members changed, left out (None) or added; its checksums made good again, or not."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        contents = {n: change(n, old.read(n)) for n in old.namelist() if n != archive.SUMS}
        contents = dict(c if isinstance(c, tuple) else (n, c) for n, c in contents.items() if c is not None)
        old_sums = old.read(archive.SUMS)
        for name, content in [*contents.items(), *more]:
            new.writestr(name, content)
        lines = [
            f"{hashlib.sha256(c).hexdigest()}  {n if isinstance(n, str) else n.filename}\n"
            for n, c in [*contents.items(), *more]
        ]
        new.writestr(archive.SUMS, "".join(lines).encode() if sums else old_sums)
    return target


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
