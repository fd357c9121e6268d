"""An archive of results: made, checked, refused, unpacked."""

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest
from tests.figures.synthetic import write_one
from tests.mini import mini, write

from bnonly import paths
from bnonly.commands import cli, sharing
from bnonly.config.layers import merge, read_yaml
from bnonly.errors import UserError
from bnonly.grid.resolve import resolve
from bnonly.results import cache, lock

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
        paths.counts().write_text("architecture\n")
        paths.FIGURES.mkdir()
        (paths.FIGURES / "fig05.csv").write_text("x\n")
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
        contents = {n: change(n, old.read(n)) for n in old.namelist() if n != sharing.SUMS}
        contents = {n: c for n, c in contents.items() if c is not None}
        old_sums = old.read(sharing.SUMS)
        for name, content in [*contents.items(), *more]:
            new.writestr(name, content)
        lines = [
            f"{hashlib.sha256(c).hexdigest()}  {n if isinstance(n, str) else n.filename}\n"
            for n, c in [*contents.items(), *more]
        ]
        new.writestr(sharing.SUMS, "".join(lines).encode() if sums else old_sums)
    return target


def test_an_archive_holds_the_run_and_checks_with_sha256sum(made, tmp_path):
    with zipfile.ZipFile(made / "all.zip") as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "--strict", sharing.SUMS], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    listed = {line.split("  ")[1] for line in (tmp_path / sharing.SUMS).read_text().splitlines()}
    assert listed == files(tmp_path).keys() - {sharing.SUMS}
    assert {n: c for n, c in files(tmp_path).items() if n.startswith("results/")} == {
        n: c for n, c in files(made).items() if n.startswith("results/")
    }
    assert (tmp_path / "published/figures/fig05.csv").exists() and "Frankle" in (tmp_path / "CITATION.cff").read_text()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["cells"] == {
        str(k.folder): c.digest() for k, c in GRID.cells.items() if k != ("ResNet-14-c4", "rand2", 0)
    }
    assert manifest["left_out"]["unfinished"] == {"missing": 1} and manifest["provenance"]["status"] == {"finished": 5}
    assert resolve(manifest["configuration"]).cells == GRID.cells


def test_the_same_results_make_the_same_archive(made, call):
    shutil.copytree(made / "results", "results")
    shutil.copytree(made / "figures", "figures")
    for file in Path("results").rglob("*.parquet"):
        os.utime(file, (1e9, 1e9))
    status, out, _ = call("export", "again.zip")
    assert status == 0 and Path("again.zip").read_bytes() == (made / "all.zip").read_bytes()
    assert f"SHA-256 {hashlib.sha256(Path('again.zip').read_bytes()).hexdigest()}" in out and "1 missing" in out


def test_an_import_restores_every_result_and_says_what_can_be_drawn(made, call, tmp_path):
    status, out, err = call(
        "import", made / "all.zip", "--sha256", hashlib.sha256((made / "all.zip").read_bytes()).hexdigest()
    )
    assert (status, err) == (0, "")
    assert "5 trainings imported, 0 were here already" in out and "can be drawn without training: " in out
    assert "fig03, " in out and "fig02 cannot: " in out and "fig02 needs regime 'bn_out'" in out
    assert "draw with: snakemake --directory" in out
    got = files(Path.cwd())
    assert {n: c for n, c in got.items() if n.startswith("results/")} == {
        n: c for n, c in files(made).items() if n.startswith("results/")
    }
    assert got["published/all/figures/fig05.csv"] == b"x\n" and "figures/fig05.csv" not in got
    assert not list(Path().glob(".import*"))
    assert call("verify", "ResNet-8-c4", "bn")[0] == 0
    # Of a whole cell a second copy is kept, as after a training; of one without weights there is none.
    assert [cache.holds(GRID.cell("ResNet-8-c4", r, 0).digest()) for r in ("bn", "all")] == [True, False]
    when = {p.name: p.stat().st_mtime for p in Path(TRAINED).iterdir()}
    assert max(when[n] for n in sharing.TRAINED) < min(when[n] for n in sharing.ANALYSED)
    assert "0 trainings imported, 5 were here already" in call("import", made / "all.zip")[1]


def test_weights_over_the_limit_stay_out_and_can_come_later(made, call):
    shutil.copytree(made / "results", "results")
    status, out, _ = call("export", "small.zip", "--weights-up-to", "0.001")
    assert status == 0 and "1 weights files above 0.001 MB are left out" in out
    shutil.rmtree("results")
    status, out, _ = call("import", "small.zip")
    assert status == 0 and "1 large weights files were not in the archive" in out
    assert not (Path(TRAINED) / "weights.safetensors").exists()
    assert call("import", made / "all.zip")[0] == 0
    when = {p.name: p.stat().st_mtime for p in Path(TRAINED).iterdir()}
    assert when["weights.safetensors"] < when["clamping.parquet"]  # or the workflow would analyse again


def test_only_the_cells_of_a_figure(made, call):
    shutil.copytree(made / "results", "results")
    assert (
        call("export", "part.zip", "fig05")[1].splitlines()[0].endswith("part.zip: 4 trainings, " + sizes("part.zip"))
    )
    with zipfile.ZipFile("part.zip") as archive:
        assert {n.split("/")[2] for n in archive.namelist() if n.count("/") == 4} == {"all", "bn"}


def sizes(name):
    from bnonly.console import size

    return size(Path(name).stat().st_size)


def test_analyses_of_another_configuration_are_not_exported(made, call):
    shutil.copytree(made / "results", "results")
    other = resolve(mini(recipes__digits__lr=0.3)).cell("ResNet-8-c4", "bn", 0)
    write_one(Path(), other, "clamping")
    assert call("export", "stale.zip")[0] == 0
    with zipfile.ZipFile("stale.zip") as archive:
        assert (
            f"{TRAINED}/clamping.parquet" not in archive.namelist()
            and f"{TRAINED}/activations.parquet" in archive.namelist()
        )


@pytest.mark.parametrize(
    ("prepare", "arguments", "message"),
    [
        (lambda: shutil.rmtree("results"), ("out.zip",), "results: nothing of 'mini' is finished"),
        (lambda: None, ("out.tar",), "an archive's name that ends in .zip is wanted"),
        (lambda: Path("out.zip").touch(), ("out.zip",), "out.zip: is there already; delete it, or name another"),
        (lambda: None, ("out.zip", "fig99"), "fig99: no figure, table or experiment is called so"),
        (
            lambda: Path(TRAINED, "batchnorm.parquet").write_bytes(b"PAR1"),
            ("out.zip",),
            "batchnorm.parquet: damaged or half-written",
        ),
    ],
)
def test_what_cannot_be_exported(made, call, prepare, arguments, message):
    shutil.copytree(made / "results", "results")
    prepare()
    there = Path("out.zip").exists()
    status, _, err = call("export", *arguments)
    assert status == 2 and message in err and err.count("\n") == 1
    assert Path("out.zip").exists() == there and not list(Path().glob(".out*"))


def flip(name):
    return lambda n, content: _flipped(content) if n == name else content


def _flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def cut(name):
    return lambda n, content: content[:-9] if n == name else content


def drop(name):
    return lambda n, content: None if n == name else content


def swap(name, other):
    """One cell's file in the place of another's."""
    return lambda n, content: other if n == name else content


def link(name="results/link"):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


METRICS = f"{TRAINED}/metrics.parquet"


@pytest.mark.parametrize(
    ("change", "more", "sums", "message"),
    [
        (flip(METRICS), (), False, f"{METRICS} does not have its checksum: the archive was damaged or changed"),
        (flip("manifest.json"), (), False, "manifest.json does not have its checksum"),
        # Whoever changes a file and its checksum still meets the file's own.
        (cut(METRICS), (), True, "ResNet-8-c4/bn/seed0/metrics.parquet damaged or half-written"),
        (flip(f"{TRAINED}/weights.safetensors"), (), True, "ResNet-8-c4/bn/seed0/weights.safetensors damaged"),
        (drop(METRICS), (), False, f"is incomplete: {METRICS} is not in it"),
        (drop(METRICS), (), True, f"is incomplete: {METRICS} is not in it"),
        (drop("manifest.json"), (), True, "has no manifest.json"),
        (swap("manifest.json", b"[]"), (), True, "its manifest.json is not what bnonly export writes"),
        (
            swap("manifest.json", b'{"format": "bnonly-results-9"}'),
            (),
            True,
            "is of format 'bnonly-results-9', this version reads bnonly-results-1",
        ),
        (drop(""), [("results/new.txt", b"")], False, "results/new.txt is not in its SHA256SUMS"),
        (drop(""), [("results/new.txt", b"")], True, "has results/new.txt, which is no file of a run"),
        (drop(""), [("Snakefile", b"")], True, "has Snakefile, which is no file of a run"),
        (drop(""), [("../escaped", b"")], True, "has the member '../escaped', which could be unpacked elsewhere"),
        (drop(""), [("/tmp/escaped", b"")], True, "has the member '/tmp/escaped', which could be unpacked elsewhere"),
        (drop(""), [("published/../../escaped", b"")], True, "which could be unpacked elsewhere"),
        (drop(""), [("published\\..\\x", b"")], True, "which could be unpacked elsewhere"),
        (drop(""), [("C:/x", b"")], True, "which could be unpacked elsewhere"),
        (
            drop(""),
            [(link("published/link"), b"/etc/passwd")],
            True,
            "has the member 'published/link', which could be unpacked elsewhere",
        ),
        (drop(""), [("published/folder/", b"")], True, "which could be unpacked elsewhere"),
    ],
)
def test_a_changed_archive_is_refused_and_nothing_is_unpacked(made, call, tmp_path, change, more, sums, message):
    bad = rewritten(made / "all.zip", tmp_path / "bad.zip", change, more, sums)
    status, _, err = call("import", bad)
    assert status == 2 and message in err and err.startswith(f"bnonly: error: {bad}: ") and err.count("\n") == 1
    assert list(Path().rglob("*")) == [] and not (tmp_path / "escaped").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(made, call, tmp_path):
    bad = rewritten(made / "all.zip", tmp_path / "bad.zip", more=[(METRICS, b"other")])
    assert f"has {METRICS} twice" in call("import", bad)[2]


def test_another_cells_file_is_refused(made, call, tmp_path):
    content = (made / "results/ResNet-14-c4/bn/seed0/metrics.parquet").read_bytes()
    bad = rewritten(made / "all.zip", tmp_path / "bad.zip", swap(METRICS, content))
    assert "ResNet-8-c4/bn/seed0/metrics.parquet was made by another configuration" in call("import", bad)[2]
    assert list(Path().rglob("*")) == []


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_half_a_download_is_refused(made, call, tmp_path, keep):
    whole = (made / "all.zip").read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: int(len(whole) * keep)])
    status, _, err = call("import", tmp_path / "half.zip")
    assert status == 2 and "half.zip: is not a whole zip archive" in err and err.count("\n") == 1


def test_what_is_no_archive_or_of_another_checksum(made, call, tmp_path):
    assert "absent.zip: no such file" in call("import", tmp_path / "absent.zip")[2]
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as other:
        other.writestr("hello.txt", "hello")
    assert "has no SHA256SUMS, so it was not made by bnonly export" in call("import", tmp_path / "foreign.zip")[2]
    assert "its SHA-256 is " in call("import", made / "all.zip", "--sha256", "0" * 64)[2]


def test_another_configuration_is_refused_with_what_differs(made, call, tmp_path):
    config = tmp_path / "other"
    config.mkdir()
    write(config, mini(recipes__digits__lr=0.3))
    status, _, err = call("import", made / "all.zip", config=config / "config.yaml")
    assert (
        status == 2
        and "recipe.lr is 0.3, the archive's is 0.1, and 4 cells more" in err
        and "--own-configuration" in err
    )
    write(config, mini(**{"experiments__cifar-depth__architectures": ["ResNet-8-c4"]}))
    assert "ResNet-14-c4/all/seed0 is not in" in call("import", made / "all.zip", config=config / "config.yaml")[2]
    assert list(Path().rglob("*")) == []


def test_the_archives_own_configuration(made, call, tmp_path):
    config = tmp_path / "other"
    config.mkdir()
    base = mini(recipes__digits__lr=0.3, title="other", threads=3)
    base["regimes"]["mine"] = {"train": ["output"]}
    write(config, base)
    status, out, _ = call("import", made / "all.zip", "--own-configuration", config=config / "config.yaml")
    assert status == 0 and "5 trainings imported" in out
    run = Path.cwd()
    assert f"draw with: snakemake --profile {run}/profile -- figures/all" in out
    both = merge(base, read_yaml(run / "profile/grid.yaml"))
    assert both == CONFIG and read_yaml(run / "profile/config.yaml")["directory"] == str(run)
    status, out, _ = call("--profile", run / "profile", "status", config=config / "config.yaml")
    assert "cifar-depth" in out and out.splitlines()[1].split()[1:3] == ["6", "5"]


@pytest.mark.parametrize("arguments", [("--profile", "demo"), ("--set", "scale=1")])
def test_its_own_configuration_and_another_is_a_contradiction(made, call, arguments):
    assert "leave out --profile and --set" in call(*arguments, "import", made / "all.zip", "--own-configuration")[2]


def test_results_that_are_here_are_not_overwritten(made, call):
    mine = Path("results/ResNet-8-c4/all/seed0/metrics.parquet")
    write_one(Path(), GRID.cell("ResNet-8-c4", "all", 0), "metrics", test_loss=[1.0, 2.0])
    before = mine.read_bytes()
    status, _, err = call("import", made / "all.zip")
    assert status == 2 and f"{mine}: is here already, with other results" in err and err.count("\n") == 1
    assert [p for p in Path().rglob("*") if p.is_file()] == [mine]
    status, out, _ = call("import", made / "all.zip", "--keep")
    assert status == 0 and "4 trainings imported, 0 were here already, 1 kept as they were" in out
    assert mine.read_bytes() == before and not mine.with_name("clamping.parquet").exists()


def test_a_cell_in_training_is_left_alone(made, call):
    with lock.hold(Path(TRAINED), "the cell"):
        status, _, err = call("import", made / "all.zip")
    assert status == 2 and f"{TRAINED}: is being trained" in err


def test_a_full_disk_is_noticed_before(made, call, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    status, _, err = call("import", made / "all.zip")
    assert status == 2 and "MB free" in err and list(Path().rglob("*")) == []


def test_an_interrupted_import_can_be_repeated(made, call, monkeypatch):
    """Killed after ten renames: no cell seems finished that is not, and the same command completes it."""
    real, left = os.replace, iter(range(10))

    def replace(source, target):
        if next(left, None) is None:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    assert call("import", made / "all.zip")[0] == 130
    for metrics in Path("results").rglob("metrics.parquet"):
        assert metrics.with_name("batchnorm.parquet").exists()
    assert not list(Path().glob(".import*"))
    monkeypatch.setattr(os, "replace", real)
    assert call("import", made / "all.zip")[0] == 0
    assert {n for n in files(Path.cwd()) if n.startswith("results/")} == {
        n for n in files(made) if n.startswith("results/")
    }


def test_an_overlay_is_the_difference():
    base = {"a": 1, "b": {"c": 2, "d": [1, 2]}, "e": 3, "f": {"x": 1}}
    wanted = {"a": 1, "b": {"c": 5, "g": 1}, "f": 7, "h": {"y": 2}}
    over = sharing.overlay(base, wanted)
    assert merge(base, over) == wanted and over == {
        "b": {"c": 5, "d": None, "g": 1},
        "e": None,
        "f": 7,
        "h": {"y": 2},
    }


def test_an_encrypted_member_is_refused(made, tmp_path):
    content = bytearray((made / "all.zip").read_bytes())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = archive.start_dir
    content[start + 8] |= 1
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        sharing.Archive(tmp_path / "bad.zip")
