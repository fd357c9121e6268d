"""The workflow: what runs, what runs again, and what does not; counted in jobs."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from bnonly.results.lock import owner_of

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.workflow

#: One width of one family, three figures and a table: what the tests really run.
SMALL = {
    "title": "small",
    "outputs": ["fig05", "fig08", "table_c2"],
    "recipes": {"digits-16": {"epochs": 0.2, "milestones": [], "batch_size": 256}},
    "experiments": {
        "vgg": {"architectures": ["VGG-11-c16"], "regimes": ["all", "all_noaffine", "bn"], "seeds": [0]},
        "cifar-depth": {
            "recipe": "digits-16", "architectures": ["ResNet-8-c4"], "case_study": "ResNet-8-c4", "regimes": ["all", "bn"], "seeds": [0],
        },
        "cifar-width": None, "imagenet": None, "small": None, "text-depth": None, "text-width": None, "ends": None, "ends-imagenet": None,
    },
}  # fmt: skip


def command(folder, *arguments, tree=ROOT, cores=2):
    if "--configfile" in arguments:  # over the demo's networks
        place = arguments.index("--configfile") + 1
        arguments = (*arguments[:place], tree / "workflow/profiles/demo/grid.yaml", *arguments[place:])
    found = [sys.executable, "-m", "snakemake", "--snakefile", tree / "Snakefile", "--directory", folder,
             "--workflow-profile", tree / "workflow/profiles/default", "--cores", cores, *arguments]  # fmt: skip
    return {"args": [*map(str, found)], "cwd": tree, "env": {**os.environ, "PYTHONPATH": str(tree / "src")}}


def snakemake(*arguments, **options):
    return subprocess.run(**command(*arguments, **options), capture_output=True, text=True, timeout=300)


def copied(tmp_path):
    """Copy everything that the workflow is made of, to change it."""
    tree = tmp_path / "tree"
    for name in ("src", "workflow", "envs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, tree / name)
    return tree


def planned(folder, *arguments, **options):
    """Count the jobs of a dry run by rule; {} when there is nothing to do."""
    done = snakemake(folder, "--dry-run", *arguments, **options)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-3000:]
    if "Nothing to be done" in text:
        return {}
    table = re.search(r"job +count\n-+ +-+\n(.*?)\n\n", text, re.DOTALL)
    assert table, text[-3000:]
    counts = {name: int(n) for name, n in (line.split() for line in table[1].splitlines())}
    counts.pop("total")
    return counts


def overlay(folder, **changes):
    """Write the small grid, with changes by path, as a file for --configfile."""
    config = json.loads(json.dumps(SMALL))
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = config
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = value
    path = folder / f"grid-{len(list(folder.glob('grid-*')))}.yaml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small grid, run to its manifest."""
    folder = tmp_path_factory.mktemp("made")
    done = snakemake(folder, "--configfile", overlay(folder), "--", "figures/all")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_the_paper_plans_1220_trainings(tmp_path):
    counts = planned(tmp_path, "--quiet", "host", "rules", "reason", "--", "figures/all")
    assert counts["train"] == 1220
    assert counts["analyse"] == 12 * 2 * 5 + 5 * 2 * 3
    assert counts["figure"] == 25
    assert counts["table"] == 4 and counts["counts"] == 1 and counts["manifest"] == 1


def test_the_demo_plans_every_figure_and_table_and_every_regime(tmp_path):
    counts = planned(tmp_path, "--configfile", "--", "figures/all", "report")  # the demo's own, nothing over it
    # 14 regimes of 5 ResNets, 11 of 2 ImageNet-type ones, 6 of 2 VGGs, 2 small ones; the text's 7 on one network.
    assert counts.pop("train") == 2 * (14 * 5 + 11 * 2 + 6 * 2 + 2 + 7) == 226
    assert counts == {"analyse": 28, "counts": 1, "figure": 25, "table": 5, "manifest": 1, "claims": 1, "report": 1}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("figures/fig05.pdf", {"train": 150, "figure": 1}),
        ("fig08", {"train": 40, "figure": 1, "fig08": 1}),
        ("tables/table1.md", {"counts": 1, "table": 1}),
        ("results/ResNet-110/bn/seed3/metrics.parquet", {"train": 1}),
        # 245 trainings that only the text needs, beside their references.
        ("tables/text_only.md", {"table": 1}),
    ],
)
def test_a_target_trains_only_what_it_needs(target, expected, tmp_path):
    counts = planned(tmp_path, "--", target)
    counts.pop("prepare", None)
    if target == "tables/text_only.md":
        assert counts.pop("train") == 245 + (4 + 3) * 5 * 4
    assert counts == expected


def test_no_target_is_everything(tmp_path):
    counts = planned(tmp_path, "--configfile", overlay(tmp_path))
    assert counts.pop("all") == 1
    assert counts == planned(tmp_path, "--configfile", overlay(tmp_path), "--", "report")
    assert (counts.pop("claims"), counts.pop("report")) == (1, 1)
    assert counts == planned(tmp_path, "--configfile", overlay(tmp_path), "--", "figures/all")


def test_everything_is_made_and_then_nothing_is_to_do(made):
    for name in ("fig05", "fig08"):
        for suffix in ("pdf", "png", "csv"):
            assert (made / f"figures/{name}.{suffix}").stat().st_size > 100
    manifest = json.loads((made / "figures/all").read_text())
    assert [e["name"] for e in manifest["outputs"]] == ["fig05", "fig08", "table_c2"]
    import hashlib

    for entry in manifest["outputs"]:
        for file, checksum in entry["sha256"].items():
            assert hashlib.sha256((made / file).read_bytes()).hexdigest() == checksum
    assert set(manifest["outputs"][1]["cells"]) == {
        "results/VGG-11-c16/all/seed0",
        "results/VGG-11-c16/all_noaffine/seed0",
    }
    assert planned(made, "--configfile", overlay(made), "--", "figures/all") == {}


def test_snakemake_s_own_report_shows_the_figures_with_their_captions(made, tmp_path):
    page = tmp_path / "snakemake.html"
    done = snakemake(made, "--configfile", overlay(made), "--report", page, "--", "figures/all")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shown = json.loads(re.search(r'<script id="results">\s+var results = (.+);\n', page.read_text())[1])
    assert set(shown) == {"figures/fig05.png", "figures/fig08.png"}
    for name, result in shown.items():
        assert result["data_uri"].startswith("data:image/png") and Path(name).stem in result["caption"]


def test_a_dry_run_of_the_paper_is_a_page_that_says_what_and_how_long(tmp_path):
    done = snakemake(tmp_path, "--dry-run", "--", "figures/all")
    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0 and len(lines) < 40
    assert any(re.search(r"^train +1220$", line) for line in lines)
    assert any(re.search(r"^training: about \S+ \w+ one after another on cpu:2$", line) for line in lines)
    assert "  1220 train: missing output files, input files updated by another job" in lines


def test_the_report_follows_the_figures(made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    config = ("--configfile", overlay(folder), "--", "report")
    assert planned(folder, *config) == {"claims": 1, "report": 1}
    done = snakemake(folder, *config)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    page = (folder / "report.html").read_text()
    assert page.count("<img ") == 2 and 'id="table_c2"' in page and (folder / "tables/claims.md").exists()
    assert planned(folder, *config) == {}
    changed = overlay(folder, experiments__vgg__seeds=[0, 1])
    wanted = {"train": 2, "figure": 1, "manifest": 1, "claims": 1, "report": 1}
    assert planned(folder, "--configfile", changed, "--", "report") == wanted


def test_a_changed_learning_rate_reruns_its_cells_and_their_figures(made):
    changed = overlay(made, regimes__bn__override={"lr": 0.05})
    assert planned(made, "--configfile", changed, "--", "figures/all") == {"train": 1, "figure": 1, "manifest": 1}


def test_a_changed_recipe_reruns_what_uses_it(made):
    changed = overlay(made, **{"recipes__digits-16__lr": 0.05})
    counts = planned(made, "--configfile", changed, "--", "figures/all")
    assert counts == {"train": 4, "figure": 2, "manifest": 1}  # VGG twice, ResNet twice; nothing shows VGG's bn


def test_another_seed_only_adds(made):
    changed = overlay(made, experiments__vgg__seeds=[0, 1])
    assert planned(made, "--configfile", changed, "--", "figures/all") == {"train": 2, "figure": 1, "manifest": 1}


def test_a_seed_less_only_redraws(made, tmp_path):
    """And what was trained stays."""
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    two = overlay(folder, experiments__vgg__seeds=[0, 1])
    assert snakemake(folder, "--configfile", two, "--", "figures/fig08.pdf").returncode == 0
    one = overlay(folder)
    assert planned(folder, "--configfile", one, "--", "figures/fig08.pdf") == {"figure": 1}
    assert (folder / "results/VGG-11-c16/all/seed1/metrics.parquet").exists()


def test_a_comment_or_another_order_in_the_configuration_does_nothing(made, tmp_path):
    tree, over = copied(tmp_path), overlay(made)
    for file in (tree / "config.yaml", over):
        config = yaml.safe_load(file.read_text())
        text = yaml.safe_dump(dict(reversed(config.items())), sort_keys=False, allow_unicode=True)
        file.write_text("# a comment\n" + text)
    assert planned(made, "--configfile", over, "--", "figures/all", tree=tree) == {}
    (tree / "config.yaml").write_text((tree / "config.yaml").read_text().replace("BatchNorm\n", "BN\n"))
    assert planned(made, "--configfile", over, "--", "figures/all", tree=tree) == {"figure": 1, "manifest": 1}


def test_a_touched_file_does_nothing(made):
    (made / "results/VGG-11-c16/all/seed0/metrics.parquet").touch()
    assert planned(made, "--configfile", overlay(made), "--", "figures/all") == {}


def test_editing_a_figures_code_redraws_that_figure(made, tmp_path):
    tree = copied(tmp_path)
    config = ("--configfile", overlay(made), "--", "figures/all")
    assert planned(made, *config, tree=tree) == {}
    file = tree / "src/bnonly/figures/fig08.py"
    file.write_text(file.read_text() + "\n# redrawn\n")
    assert planned(made, *config, tree=tree) == {"figure": 1, "manifest": 1}
    rule = tree / "workflow/rules/train.smk"
    rule.write_text(rule.read_text().replace("    shell:", "    # a comment\n    shell:"))
    assert planned(made, *config, tree=tree) == {"figure": 1, "manifest": 1}


def test_a_deleted_figure_is_redrawn(made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    (folder / "figures/fig08.png").unlink()
    config = ("--configfile", overlay(folder), "--", "figures/all")
    assert planned(folder, *config) == {"figure": 1, "manifest": 1}
    assert snakemake(folder, *config).returncode == 0
    assert (folder / "figures/fig08.png").exists()
    assert planned(folder, *config) == {}


def test_a_figure_that_was_changed_is_redrawn(made, tmp_path):
    """Also without Snakemake's records, and once only."""
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    shutil.rmtree(folder / ".snakemake")
    numbers = folder / "figures/fig08.csv"
    before = numbers.read_bytes()
    numbers.write_bytes(before.replace(b"1", b"9"))
    config = ("--configfile", overlay(folder), "--", "figures/all")
    assert planned(folder, *config) == {"figure": 1, "manifest": 1}
    assert snakemake(folder, *config).returncode == 0
    assert numbers.read_bytes() == before
    assert planned(folder, *config) == {}


def test_pdfs_are_the_same_when_made_again(made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    before = {p.name: p.read_bytes() for p in (folder / "figures").glob("fig*")}
    for path in (folder / "figures").iterdir():
        path.unlink()
    assert snakemake(folder, "--configfile", overlay(folder), "--", "figures/all").returncode == 0
    assert {p.name: p.read_bytes() for p in (folder / "figures").glob("fig*")} == before


def test_a_changed_setting_is_noticed_without_snakemakes_memory(made, tmp_path):
    """By the files themselves; and changed back, nothing is trained again."""
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    shutil.rmtree(folder / ".snakemake")
    for path in [*(folder / "figures").glob("fig*"), *(folder / "tables").iterdir(), folder / "figures/all"]:
        path.touch()  # another test touched a result, which only Snakemake's records tell from a new one
    original = ("--configfile", overlay(folder), "--", "figures/all")
    assert planned(folder, *original) == {}
    changed = ("--configfile", overlay(folder, **{"recipes__digits-16__lr": 0.05}), "--", "fig08")
    assert planned(folder, *changed) == {"train": 2, "figure": 1, "fig08": 1}
    before = (folder / "results/VGG-11-c16/all/seed0/metrics.parquet").read_bytes()
    assert snakemake(folder, *changed).returncode == 0
    assert planned(folder, *changed) == {}
    assert (folder / "results/VGG-11-c16/all/seed0/metrics.parquet").read_bytes() != before
    shutil.rmtree(folder / ".snakemake")
    assert planned(folder, *original) == {"train": 2, "figure": 1, "manifest": 1}
    assert snakemake(folder, *original).returncode == 0
    log = (folder / "logs/train/VGG-11-c16/all/seed0.log").read_text()
    assert "finished earlier with this configuration; copied from the cache" in log
    assert (folder / "results/VGG-11-c16/all/seed0/metrics.parquet").read_bytes() == before
    (folder / "figures/fig05.png").unlink()
    shutil.rmtree(folder / ".snakemake")
    assert planned(folder, *original) == {"figure": 1, "manifest": 1}


def test_another_label_redraws_without_snakemakes_memory(made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    shutil.rmtree(folder / ".snakemake")
    changed = overlay(folder, regimes__all__label="Everything")
    counts = planned(folder, "--configfile", changed, "--", "figures/all")
    assert counts["figure"] == 2 and counts["manifest"] == 1 and "train" not in counts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipes__digits-16__lr": -1}, "{overlay}: recipes.digits-16.lr must be greater than 0 (got -1)"),
        # What is wrong with it stands in the demo's own file, below the overlay.
        (
            {"recipes__digits__epochs": 3},
            "workflow/profiles/demo/grid.yaml with {overlay}: recipes.digits.milestones must end before epochs",
        ),
        ({"outputs": ["fig26"]}, "no figure or table is called fig26"),
        ({"outputs": ["fig02"]}, "fig02 needs regime"),
        ({"outputs": ["fig17"]}, "fig17 needs experiments.cifar-width"),
        ({"experiments__vgg__seeds": []}, "experiments.vgg.seeds must list at least one item (got [])"),
    ],
)
def test_mistakes_stop_before_anything_runs(change, message, tmp_path):
    over = overlay(tmp_path, **change)
    done = snakemake(tmp_path, "--dry-run", "--configfile", over, "--", "figures/all")
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert message.format(overlay=over) in text and "Traceback" not in text


def test_a_mistake_on_the_command_line_is_put_down_to_it(tmp_path):
    done = snakemake(tmp_path, "--dry-run", "--config", "recipes={cifar10: {epoch: 1}}", "--", "figures/all")
    assert done.returncode != 0
    assert "error: --config: unknown key recipes.cifar10.epoch; did you mean 'epochs'?" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("WRN-8-1/bn/seed0", "this cell's folder is results/ResNet-8/bn/seed0"),
        ("ResNet-8/bn/seed00", "this cell's folder is results/ResNet-8/bn/seed0"),
        ("ResNet-8/bn/seed9", "ResNet-8/bn has seeds [0, 1], not 9"),
        ("ResNet-9/bn/seed0", "no experiment has architecture 'ResNet-9'; did you mean 'ResNet-8'?"),
    ],
)
def test_a_cell_that_is_not_there_or_called_otherwise(cell, message, tmp_path):
    done = snakemake(tmp_path, "--dry-run", "--configfile", "--", f"results/{cell}/metrics.parquet")
    text = done.stdout + done.stderr
    assert done.returncode != 0 and message in text and "Traceback" not in text


def test_asking_about_the_workflow_changes_nothing(made, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    (folder / "figures/fig08.png").unlink()
    assert snakemake(folder, "--summary", "--configfile", overlay(folder), "--", "figures/all").returncode == 0
    assert (folder / "figures/all").exists()


def test_a_figure_that_the_grid_cannot_make(tmp_path):
    done = snakemake(tmp_path, "--dry-run", "--configfile", overlay(tmp_path), "--", "figures/fig17.pdf")
    text = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in text
    assert "fig17 needs experiments.cifar-width, which is not defined" in text


def test_a_failed_cell_names_its_reason_and_costs_the_others_nothing(made, tmp_path):
    folder = tmp_path / "run"
    cell = folder / "results/VGG-11-c16/all/seed0"
    cell.mkdir(parents=True)
    (cell / ".lock").mkdir()  # nothing can lock this cell
    config = overlay(folder)
    done = snakemake(folder, "--configfile", config, "--", "figures/fig08.pdf")
    assert done.returncode != 0
    assert "results/VGG-11-c16/all/seed0/.lock: cannot be written" in done.stdout + done.stderr
    assert (folder / "results/VGG-11-c16/all_noaffine/seed0/metrics.parquet").exists()
    (cell / ".lock").rmdir()
    assert planned(folder, "--configfile", config, "--", "figures/fig08.pdf") == {"train": 1, "figure": 1}


def test_a_snakemake_that_is_started_again_waits_for_the_training_that_outlived_it(tmp_path):
    config = overlay(tmp_path, **{"recipes__digits-16__epochs": 12, "warm": False})
    arguments = (tmp_path, "--nolock", "--configfile", config, "--", "results/ResNet-8-c4/bn/seed0/metrics.parquet")
    log = tmp_path / "logs/train/ResNet-8-c4/bn/seed0.log"

    def until(text, process):
        deadline = time.monotonic() + 120
        while not (log.exists() and text in log.read_text(errors="replace")):
            assert process.poll() is None and time.monotonic() < deadline, f"no '{text}' in the log"
            time.sleep(0.05)

    with subprocess.Popen(**command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as first:
        until("epoch 1/", first)
        first.kill()
    owner = owner_of(tmp_path / "results/ResNet-8-c4/bn/seed0").process
    os.kill(owner, signal.SIGSTOP)
    try:
        with subprocess.Popen(
            **command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as second:
            until("waits for", second)
            os.kill(owner, signal.SIGCONT)
            said, _ = second.communicate(timeout=120)
    finally:
        with suppress(ProcessLookupError):
            os.kill(owner, signal.SIGKILL)
    assert second.returncode == 0, said
    assert "epoch" not in log.read_text(errors="replace").partition("waits for")[2]
