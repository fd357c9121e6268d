"""Export and import: what is in an archive, what is left out, what stays as it is."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from tests.archives import CONFIG, GRID, TRAINED, files
from tests.figures.synthetic import write_one
from tests.mini import mini, write

from bnonly import paths
from bnonly.commands import unpacking
from bnonly.config.layers import merge, read_yaml
from bnonly.figures import outputs, staleness
from bnonly.grid.resolve import resolve
from bnonly.results import archive, cache, lock


def test_an_archive_holds_the_run_and_checks_with_sha256sum(made, tmp_path):
    with zipfile.ZipFile(made / "all.zip") as packed:
        packed.extractall(tmp_path)
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "--strict", archive.SUMS], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    listed = {line.split("  ")[1] for line in (tmp_path / archive.SUMS).read_text().splitlines()}
    assert listed == files(tmp_path).keys() - {archive.SUMS}
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
    assert "5 trainings imported, 0 already present" in out and "can be drawn without training: " in out
    assert "fig03, " in out and "left out of figures/all, because the grid lacks" in out and " cannot" not in out
    assert "draw with: snakemake --directory" in out and out.endswith(" figures/all report\n")
    assert re.search(r": fig01, fig02, .*\(to see why: snakemake -n --directory \S+ fig01\)\n", out)
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
    assert max(when[n] for n in paths.TRAINED.values()) < min(when[n] for n in paths.ANALYSED.values())
    assert "0 trainings imported, 5 already present" in call("import", made / "all.zip")[1]


@pytest.mark.parametrize("more", [False, True])
def test_counts_are_taken_only_if_they_have_every_network_of_the_grid(made, call, tmp_path, more):
    """The workflow makes missing counts, but does not notice that networks are missing from them."""
    folder = tmp_path / "other"
    folder.mkdir()
    config = mini()
    if more:
        config["architectures"]["ResNet-20-c4"] = {"family": "cifar-resnet", "depth": 20, "channels": 4}
        config["experiments"]["cifar-depth"]["architectures"].append("ResNet-20-c4")
    status, out, err = call("import", made / "all.zip", config=write(folder, config))
    assert (status, err) == (0, "") and "table1" in out and "table1 cannot" not in out
    assert paths.counts().exists() != more


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
        (lambda: None, ("out.tar",), "out.tar: the archive's name must end in .zip"),
        (lambda: Path("out.zip").touch(), ("out.zip",), "out.zip: already exists; delete it, or choose another name"),
        (lambda: None, ("out.zip", "fig99"), "fig99: no such figure, table or experiment; "),
        (lambda: None, ("out.zip", "table1"), "table1: needs no training, so there is nothing to export"),
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


def test_another_configuration_is_refused_with_what_differs(made, call, tmp_path):
    config = tmp_path / "other"
    config.mkdir()
    write(config, mini(recipes__digits__lr=0.3))
    status, _, err = call("import", made / "all.zip", config=config / "config.yaml")
    assert (
        status == 2
        and "recipe.lr is 0.3, the archive's is 0.1, and 4 more cells" in err
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
    assert f"draw with: snakemake --profile {run}/profile figures/all report" in out
    both = merge(base, read_yaml(run / "profile/grid.yaml"))
    # An archive names the precision that it was made with, where the configuration leaves it open.
    assert both == CONFIG | {"precision": "fp32"} and read_yaml(run / "profile/config.yaml")["directory"] == str(run)
    status, out, _ = call("--profile", run / "profile", "status", config=config / "config.yaml")
    assert "cifar-depth" in out and out.splitlines()[1].split()[1:3] == ["6", "5"]


@pytest.mark.parametrize("arguments", [("--profile", "demo"), ("--configfile", "a.yaml"), ("--set", "scale=1")])
def test_its_own_configuration_and_another_is_a_contradiction(made, call, arguments):
    said = call(*arguments, "import", made / "all.zip", "--own-configuration")[2]
    assert "leave out --profile, --configfile and --set" in said


def test_results_that_are_here_are_not_overwritten(made, call):
    mine = Path("results/ResNet-8-c4/all/seed0/metrics.parquet")
    write_one(Path(), GRID.cell("ResNet-8-c4", "all", 0), "metrics", test_loss=[1.0, 2.0])
    before = mine.read_bytes()
    status, _, err = call("import", made / "all.zip")
    assert status == 2 and f"{mine}: exists here with other results" in err and err.count("\n") == 1
    assert [p for p in Path().rglob("*") if p.is_file()] == [mine]
    status, out, _ = call("import", made / "all.zip", "--keep")
    assert status == 0 and "4 trainings imported, 0 already present, 1 existing ones kept" in out
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
    over = unpacking.overlay(base, wanted)
    assert merge(base, over) == wanted and over == {
        "b": {"c": 5, "d": None, "g": 1},
        "e": None,
        "f": 7,
        "h": {"y": 2},
    }


@pytest.mark.parametrize("name", ["weights.safetensors", "batchnorm.parquet", "activations.parquet"])
def test_what_is_damaged_is_not_exported(made, call, name):
    shutil.copytree(made / "results", "results")
    path = Path(TRAINED, name)
    content = bytearray(path.read_bytes())
    content[100 if path.suffix == ".parquet" else len(content) // 2] ^= 1
    path.write_bytes(content)
    status, _, err = call("export", "out.zip")
    assert status == 2 and f"{path}: damaged" in err and err.count("\n") == 1
    assert not list(Path().glob("*out*"))


@pytest.mark.parametrize("change", ["learning rate", "garbage", "numbers", "another's", "record"])
def test_figures_that_are_not_of_the_results_are_not_published(made, call, tmp_path, change):
    shutil.copytree(made / "results", "results")
    shutil.copytree(made / "figures", "figures")
    reason = f"fig05.{'csv' if change == 'numbers' else 'png'} was changed after it was made"
    if change == "learning rate":
        reason = "fig05 was made from other results, or by other code"
        asked = outputs.ask(resolve(mini(recipes__digits__lr=0.3)), "fig05")
        staleness.record("fig05", staleness.made_from(asked), outputs.files("fig05"))
    elif change == "garbage":
        paths.figure("fig05", "png").write_bytes(b"garbage")
    elif change == "numbers":
        paths.figure("fig05", "csv").write_text("9\n")
    elif change == "another's":
        paths.figure("fig05", "png").write_bytes(b"figure 7")
    else:
        reason = "fig05 was made from other results"
        paths.drawn_from("fig05").write_bytes(b"\xff")
    status, out, _ = call("export", "out.zip")
    assert status == 0 and f"left out, because it does not match these results: fig05 ({reason}" in out.replace(
        "figures/", ""
    )
    with zipfile.ZipFile("out.zip") as found:
        assert not [n for n in found.namelist() if n.startswith("published")]
    assert call("manifest")[0] == 2
    said = json.loads(call("status", "--json")[1])["outputs"]["fig05"]["state"]
    assert said == ("stale" if change in ("learning rate", "record") else "damaged")


def test_verdicts_and_report_are_published_as_long_as_they_are_of_the_results(made, call):
    shutil.copytree(made / "results", "results")
    shutil.copytree(made / "figures", "figures")
    shutil.rmtree(TRAINED)  # on other data than the invented ones
    assert call("claims")[2] == "" and call("report")[2] == ""
    assert call("export", "now.zip")[0] == 0
    with zipfile.ZipFile("now.zip") as found:
        names = set(found.namelist())
    assert {"published/report.html", "published/results/claims.parquet", "published/tables/claims.md"} <= names
    page = paths.REPORT.read_text()
    paths.REPORT.write_text(page.replace("undecided", "reproduced"))
    shutil.rmtree(Path("results/ResNet-14-c4/bn"))
    out = call("export", "later.zip")[1]
    assert "claims (claims was made from other results, or by other code)" in out
    assert "report (report was made from other results, or by other code)" in out
    with zipfile.ZipFile("later.zip") as found:
        assert not [n for n in found.namelist() if "claims" in n or "report" in n]
