"""What the rules get from the plan, without Snakemake."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.mini import mini, write

from bnonly import machine, paths
from bnonly.config.layers import merge, read_yaml
from bnonly.errors import UserError
from bnonly.grid.resolve import resolve
from bnonly.results import parquet
from bnonly.workflow import Call, Plan

ROOT = Path(__file__).parents[2]
CLUSTER = {"cluster": {"partition": "gpu", "batch_minutes": 60}}


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Make the plan of the small grid in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BNONLY_DATA", raising=False)

    def make(over=None, changes=None, **call):
        write(tmp_path, mini(**(changes or {})))
        config = merge(read_yaml(tmp_path / "config.yaml"), over or {})
        return Plan(Call(root=tmp_path, config=config, over={"--config": over or {}}, **call))

    return make


def of(folder):
    """The wildcards of a cell's folder."""
    architecture, regime, seed = folder.split("/")
    return SimpleNamespace(arch=architecture, regime=regime, seed=seed.removeprefix("seed"))


@pytest.mark.parametrize("forbidden", ["torch", "pandas", "matplotlib", "numpy", "pyarrow", "scipy"])
def test_a_dry_run_imports_nothing_heavy(forbidden):
    code = f"import bnonly.workflow as w, sys; w.outputs.names(); sys.exit('{forbidden}' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_rule_says_in_a_line_what_it_does():
    for path in (ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")):
        for rule in re.split(r"^ *rule\b", path.read_text(), flags=re.MULTILINE)[1:]:
            assert re.search(r"message:\s+f?\"[^\"\n]{8,110}\"\n", rule), f"{path.name}: {rule[:60]}"


def test_a_cell_has_one_folder(plan):
    made = plan()
    assert made.spec(of("ResNet-8-c4/bn/seed0")) == made.grid.cell("ResNet-8-c4", "bn", 0).canonical()
    with pytest.raises(UserError, match=r"this cell's folder is results/ResNet-8-c4/bn/seed0"):
        made.cell(of("ResNet-8-c4/bn/seed00"))
    assert made.data_of(of("ResNet-8-c4/bn/seed00")).startswith("(bnonly: error: this cell's folder")


@pytest.mark.parametrize(("scores", "said"), [([0.25, 0.5], ": test accuracy 50.00%"), ([], "")])
def test_a_finished_training_s_line_has_its_accuracy_if_there_is_one(plan, scores, said):
    made = plan()
    cell = made.grid.cell("ResNet-8-c4", "bn", 0)
    columns = {field.name: [0] * len(scores) for field in parquet.SCHEMAS["metrics"]} | {"test_top1": scores}
    parquet.write(paths.metrics(cell.key.folder), "metrics", columns, cell)
    assert made.result("train", {"arch": "ResNet-8-c4", "regime": "bn", "seed": "0"}) == said


@pytest.mark.parametrize("name", ["a b", "plain"])
def test_data_that_are_prepared_and_those_that_are_not(plan, tmp_path, monkeypatch, name):
    data = tmp_path / name
    monkeypatch.setenv("BNONLY_DATA", str(data))
    made = plan(changes={"recipes__digits__dataset": "cifar10"})
    assert made.data_of(of("ResNet-8-c4/bn/seed0")) == f"{data}/cifar10/.prepared"
    (data / "cifar10").mkdir(parents=True)
    (data / "cifar10/manifest.json").touch()
    assert made.data_of(of("ResNet-8-c4/bn/seed0")) == f"{data}/cifar10/manifest.json"
    assert plan().data_of(of("ResNet-8-c4/bn/seed0")) == []  # digits come with a library


def test_a_mistake_names_the_command_line(plan):
    with pytest.raises(UserError, match=r"^--config: unknown key recipes\.digits\.epoch; did you mean 'epochs'"):
        plan({"recipes": {"digits": {"epoch": 1}}})


def test_jobs_elsewhere_need_a_cluster(plan):
    with pytest.raises(UserError, match="no 'cluster' is configured"):
        plan(local=False)


def test_the_cluster_is_no_part_of_a_result(plan):
    assert plan(CLUSTER).resolved == plan().resolved
    assert plan({"title": "other"}).resolved != plan().resolved


def test_replicates_that_were_asked_for_share_a_batch(plan):
    changes = {"experiments__cifar-depth__seeds": [0, 1, 2]}
    targets = [f"results/ResNet-8-c4/bn/seed{s}/metrics.parquet" for s in (0, 2)]
    made = plan(CLUSTER, changes, targets=lambda: targets)
    (batch,) = made.batch_of(of("ResNet-8-c4/bn/seed2"))
    assert batch == paths.batch("ResNet-8-c4+bn+0-2")
    found = made.batch_cells(SimpleNamespace(batch=batch.name))
    assert [str(c) for c in found] == ["ResNet-8-c4/bn/seed0", "ResNet-8-c4/bn/seed2"]
    everything = plan(CLUSTER | {"outputs": ["fig05"]}, changes)
    assert everything.batch_of(of("ResNet-8-c4/bn/seed2")) == [paths.batch("ResNet-8-c4+bn+0-1-2")]
    changes |= {"experiments__cifar-depth__on_request": True}
    on_request = plan(CLUSTER, changes, targets=lambda: ["cifar-depth"])
    assert on_request.batch_of(of("ResNet-8-c4/bn/seed2")) == [paths.batch("ResNet-8-c4+bn+0-1-2")]


def test_a_job_on_a_node_does_not_submit_again(plan):
    assert plan(CLUSTER).attempts > 1 == plan(CLUSTER, main=False).attempts


def test_small_cells_share_a_process_on_this_machine_only(plan):
    assert "BNONLY_WARM" in plan({"warm": True}).environment
    assert "BNONLY_WARM" not in plan({"warm": True, **CLUSTER}).environment
    assert "BNONLY_WARM" not in plan().environment


def test_the_command_finds_this_tree_whatever_its_path(plan, tmp_path):
    """Braces are for Snakemake's formatting, which the prefix passes once."""
    prefix = plan().shell_prefix.format()
    done = subprocess.run(["bash", "-c", f"{prefix} type bnonly"], capture_output=True, text=True)
    assert done.returncode == 0 and f"{tmp_path}/src" in done.stdout, done.stderr


def test_a_figure_that_the_grid_lacks_is_a_missing_file_with_the_reason(plan):
    made = plan()
    assert made.read_by(SimpleNamespace(name="fig17")).startswith(
        "(bnonly: error: config.yaml: fig17 needs experiments.cifar-width"
    )
    assert all("ResNet" in str(f) for f in made.read_by(SimpleNamespace(name="fig05")))


def test_a_manifest_that_promises_more_than_there_is(plan):
    made = plan({"outputs": ["fig05"]})
    assert made.redrawn() == 0
    for file in (*made.everything(None), paths.MANIFEST):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text("{}")
    assert made.gone(None) == [] and made.redrawn() == 0
    os.unlink(made.everything(None)[0])
    assert made.gone(None) == [paths.NOW] and made.redrawn() == 1


def test_gpus_divide_the_cores_and_a_training_of_four_takes_all(plan, monkeypatch):
    monkeypatch.setattr("bnonly.machine.find_gpus", lambda: [machine.Gpu(str(k), "A") for k in range(4)])
    made = plan(cores=16)
    assert made.threads == made.threads_of(of("ResNet-8-c4/bn/seed0")) == 4
    assert made.environment["BNONLY_GPUS"] == "0,1,2,3"
    assert plan({"gpu_jobs": 2}, cores=16).threads == 2 and plan(cores=2).threads == 1
    four = plan({"engine": "fast"}, {"recipes__digits__gpus": 4}, cores=16)
    assert four.threads_of(of("ResNet-8-c4/bn/seed0")) == 16
    assert plan({"gpu_jobs": 2, "device": "cuda"}).resolved == plan().resolved  # no result depends on them


def test_a_cpu_without_bf16_is_noticed_with_the_dag_and_only_where_something_is_to_be_trained(plan, monkeypatch):
    monkeypatch.setattr("bnonly.machine.find_gpus", lambda: [])
    monkeypatch.setattr("bnonly.machine.why_no_bf16", lambda on_gpu: machine.NO_BF16)
    made = plan({"engine": "fast", "precision": "bf16"})
    cell = of("ResNet-8-c4/bn/seed0")
    problem = (
        "(bnonly: error: precision is bf16, but this CPU has no bf16 (it needs AVX-512); set precision: fp32 or auto)"
    )
    assert made.data_of(cell) == problem
    monkeypatch.setattr("bnonly.results.cache.recorded_digest", lambda path: made.cell(cell).digest())
    assert made.data_of(cell) == []  # trained elsewhere
    monkeypatch.setattr("bnonly.results.cache.recorded_digest", lambda path: None)
    assert plan({"engine": "fast"}).data_of(cell) == []  # fp32


def test_precision_auto_is_resolved_in_what_a_run_records(plan, monkeypatch):
    for found in ("bf16", "fp32"):
        monkeypatch.setattr("bnonly.machine.best_precision", lambda device, found=found: found)
        made = plan({"engine": "fast", "precision": "auto"})
        assert json.loads(made.resolved)["precision"] == made.grid.precision == found
        assert made.cell(of("ResNet-8-c4/bn/seed0")).precision == found


def test_braces_above_the_clone_and_in_the_data_s_path(plan, tmp_path, monkeypatch):
    below = tmp_path / "x{y}/run"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    monkeypatch.setenv("BNONLY_DATA", str(tmp_path / "x{y}/data"))
    assert plan().data_files == "../data"
    monkeypatch.setenv("BNONLY_DATA", str(tmp_path / "a{b}"))
    with pytest.raises(UserError, match="must not have braces; set BNONLY_DATA to another folder"):
        plan()


def test_a_home_folder_in_a_variable_is_the_home_folder(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("BNONLY_DATA", "BNONLY_SOURCES"):
        monkeypatch.setenv(variable, "~/x")
    assert plan().data == str(tmp_path / "x") == plan().environment["BNONLY_SOURCES"]


def test_a_started_run_records_its_configuration(plan):
    made = plan({"scale": 2})
    assert not paths.CONFIGURATION.exists()
    made.start()
    assert resolve(json.loads(paths.CONFIGURATION.read_text())).cells == made.grid.cells


@pytest.mark.parametrize("nothing", ["null", "~"])
def test_null_on_the_command_line_takes_something_out(plan, nothing):
    # Snakemake gives --config architectures='{ResNet-14-c4: null}' as text.
    over = {"architectures": {"ResNet-14-c4": nothing}}
    changes = {"experiments__cifar_depth__architectures": ["ResNet-8-c4"]}
    assert set(plan(over, changes).grid.architecture_labels) == {"ResNet-8-c4"}


def test_figures_that_the_grid_cannot_draw_are_left_out_with_a_note(plan):
    made = plan()
    assert "fig05" in made.wanted and not set(made.wanted) & set(made.left_out)
    assert "needs regime 'all_noaffine'" in made.left_out["fig01"]
    assert not str(made.everything(None)).startswith("(bnonly: error")
    listed = plan({"outputs": ["fig01"]})  # a person who names it wants to know
    assert listed.left_out == {} and listed.everything(None).startswith("(bnonly: error")


@pytest.mark.parametrize(
    ("arguments", "targets", "command"),
    [
        ("--profile demo -n figures/all report", ["figures/all", "report"], "snakemake -n --profile demo fig01"),
        ("figures/all --config a=1", ["figures/all"], "snakemake -n fig01 --config a=1"),
        ("--config a=1 -- report", ["report"], "snakemake -n --config a=1 -- fig01"),
        ("--config a=1", [], "snakemake -n --config a=1 -- fig01"),
        ("", [], "snakemake -n fig01"),
    ],
)
def test_one_line_says_what_is_left_out_and_the_command_that_says_why(plan, capsys, arguments, targets, command):
    made = plan(arguments=tuple(arguments.split()), targets=lambda: targets)
    made.start()
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "left out" in text]
    assert ": fig01, " in line and line.endswith(f"(to see why: {command})") and "fig02, " in line
    assert plan({"outputs": ["fig05"]}).note == ""


def test_an_experiment_and_all_trainings_are_targets(plan):
    made = plan(changes={"experiments__cifar-depth__on_request": True})
    assert len(made.experiments["cifar-depth"]) == 6 and made.experiments["trainings"] == []
    assert plan().experiments["trainings"] == plan().experiments["cifar-depth"]


def test_a_moved_clone_makes_nothing_again(plan, tmp_path):
    """No parameter of a rule has the folder in it; the command has, which Snakemake does not compare."""
    made = plan()
    assert str(tmp_path) in made.shell_prefix and str(tmp_path) not in made.resolved
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        assert "root" not in path.read_text().lower() and "PLAN.data}" not in path.read_text()
