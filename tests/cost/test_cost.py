"""Kinds of GPU by all their names, corrections by measured runs, and the command."""

import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.figures.synthetic import write_one
from tests.mini import mini, write

from bnonly import cost, paths
from bnonly.commands import cli
from bnonly.cost import measured, total
from bnonly.cost.gpus import GPUS, PRECISIONS, cpu, find_gpu, of_configuration
from bnonly.cost.measured import Measured, Throughput
from bnonly.cost.model import CONSTANTS, CORES, model, step_seconds_per_image
from bnonly.cost.total import Assumptions
from bnonly.errors import UserError
from bnonly.figures import outputs
from bnonly.grid.cell import Key
from bnonly.grid.resolve import load_grid, resolve

ROOT = Path(__file__).parents[2]
PAPER = load_grid(ROOT / "config.yaml", {"engine": "reference", "precision": "fp32"})
OWN = {
    "mine": {
        "memory_gb": 10,
        "bandwidth_gb_s": 500,
        "tflops": {"fp32": 10, "bf16": 40},
        "watts": 120,
        "aliases": ["Our Card (v2)"],
    }
}


def test_importing_the_model_imports_nothing_heavy():
    code = "import sys, bnonly.cost, bnonly.cost.measured, bnonly.cost.total; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "bnonly" in loaded
    assert not [m for m in ("torch", "numpy", "pandas", "pyarrow", "scipy") if f"'{m}'" in loaded]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA A100-SXM4-40GB", "a100-40"), ("NVIDIA A100-SXM4-80GB", "a100-80"), ("NVIDIA A100 80GB PCIe", "a100-80"),
        ("NVIDIA A100-PCIE-40GB", "a100-40"), ("a100", "a100-40"), ("a100_80", "a100-80"), ("A100-80GB", "a100-80"),
        ("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA H100 PCIe", "h100-pcie"), ("h100", "h100"), ("NVIDIA H200", "h200"),
        ("Tesla V100-SXM2-32GB", "v100"), ("v100", "v100"), ("NVIDIA A10", "a10"), ("NVIDIA A10G", "a10"), ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"), ("NVIDIA GeForce RTX 3090", "rtx-3090"), ("geforce_rtx_4090", "rtx-4090"), ("rtx4090", "rtx-4090"),
        ("Tesla T4", "t4"), ("t4", "t4"), ("cpu", "cpu"), ("CPU:4", "cpu:4"),
    ],
)  # fmt: skip
def test_a_kind_is_found_by_every_name(name, kind):
    assert find_gpu(name).name == kind


@pytest.mark.parametrize(
    ("name", "near"), [("h300", "did you mean 'h"), ("NVIDIA H20", "h200"), ("", "one of: a100-40"), ("cpu:0", "cpu")]
)
def test_an_unknown_kind_is_refused_with_the_nearest(name, near):
    with pytest.raises(UserError, match="unknown GPU") as problem:
        find_gpu(name)
    assert near in str(problem.value) and "gpus: in config.yaml" in str(problem.value)


def test_no_name_is_of_two_kinds():
    """The names of the table itself do not depend on its order."""
    import re

    for kind in GPUS.values():
        assert [
            k.name for k in GPUS.values() if k is not kind and any(re.fullmatch(a, kind.name) for a in k.aliases)
        ] == []


@pytest.mark.parametrize("kind", [*GPUS.values(), cpu(1)], ids=lambda k: k.name)
def test_the_numbers_of_a_kind_are_of_the_right_size(kind):
    """Twelve data sheets typed by hand: a slip of a power of ten, or of two columns, shows."""
    rates = [kind.matrix_flops[p] for p in PRECISIONS]
    assert rates[0] <= rates[1] and rates[0] <= rates[2] <= rates[3] <= 1e15
    if not kind.is_cpu:
        assert 8e12 < rates[0] < 1e14 and 10e9 < kind.memory_bytes < 150e9 and 50 < kind.watts < 800
        assert 3 < rates[0] / kind.copy_bytes_per_s < 150


def test_cores_add_up():
    assert cpu(4).matrix_flops["fp32"] == 4 * cpu(1).matrix_flops["fp32"] and cpu(4).watts == 4 * cpu(1).watts


def test_a_kind_of_ones_own():
    own = of_configuration(resolve(mini(gpus=OWN)).gpus)
    for name in ("mine", "NVIDIA mine", "our card (V2)"):
        assert find_gpu(name, own).name == "mine"
    assert own[0].matrix_flops == {"fp32": 10e12, "tf32": 10e12, "bf16": 40e12, "fp16": 10e12}
    assert total.default_kinds(own)[0].name == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"watts": None}, "config.yaml: gpus.mine.watts is missing"),
        ({"tflops": {}}, "config.yaml: gpus.mine.tflops.fp32 is missing"),
        ({"tflops": {"fp8": 1}}, "unknown key gpus.mine.tflops.fp8; did you mean 'fp32'"),
        ({"memory_gb": -1}, "gpus.mine.memory_gb must be greater than 0 (got -1)"),
        ({"cores": 2}, "unknown key gpus.mine.cores"),
        ({"aliases": "x"}, "gpus.mine.aliases must be a list (got 'x')"),
    ],
)
def test_a_kind_with_mistakes(change, message):
    with pytest.raises(UserError) as problem:
        resolve(mini(gpus={"mine": {**OWN["mine"], **change}}))
    assert message in str(problem.value)


def test_a_kind_does_not_change_a_cell():
    assert resolve(mini(gpus=OWN)).cells == resolve(mini()).cells


def runs(factors, device="h200", **changes):
    """Throughputs at a factor of the model's time, cell by cell."""
    for (name, regime, seed), factor in factors.items():
        cell = dataclasses.replace(PAPER.cell(name, regime, seed), **changes)
        yield Throughput(cell, device, 1 / (factor * step_seconds_per_image(cell, find_gpu(device))))


def test_a_correction_is_the_geometric_mean():
    found = Measured(runs({("ResNet-14", "bn", 0): 2.0, ("ResNet-56", "all", 0): 8.0}))
    cell, gpu = PAPER.cell("ResNet-110", "bn", 0), find_gpu("h200")
    correction = found.correction(cell, gpu)
    assert correction.factor == pytest.approx(4) and correction.runs == 2
    assert correction.error == pytest.approx(4)  # each predicts the other, a factor of 4 off
    plain, corrected = cost.estimate(cell, gpu), cost.estimate(cell, gpu, found)
    startup = model(cell, gpu, CORES)[2]
    assert corrected.seconds - startup == pytest.approx(4 * (plain.seconds - startup))
    assert corrected.measured and corrected.error_factor == pytest.approx(4)


def test_replicates_of_the_very_cell_come_first_and_other_families_last():
    found = Measured(runs({("ResNet-14", "bn", 0): 2.0, ("ResNet-14", "bn", 1): 2.0, ("ResNet-56", "all", 0): 8.0}))
    gpu = find_gpu("h200")
    own = found.correction(PAPER.cell("ResNet-14", "bn", 4), gpu)
    assert own.factor == pytest.approx(2) and own.error == pytest.approx(1)
    other = found.correction(PAPER.cell("VGG-16", "bn", 0), gpu)
    assert other.factor == pytest.approx(4) and other.error is None
    assert found.correction(PAPER.cell("ResNet-14", "bn", 0), find_gpu("a100-40")) is None
    fast = dataclasses.replace(PAPER.cell("ResNet-14", "bn", 0), engine="fast", precision="bf16")
    assert found.correction(fast, gpu) is None


def test_one_cell_has_no_error_and_families_predict_one_another():
    one = Measured(runs({("ResNet-14", "bn", 0): 3.0}))
    assert one.correction(PAPER.cell("ResNet-32", "bn", 0), find_gpu("h200")).error is None
    two = Measured(runs({("ResNet-14", "bn", 0): 1.0, ("VGG-11", "bn", 0): 4.0}))
    assert two.correction(PAPER.cell("ImageNet-ResNet-18", "bn", 0), find_gpu("h200")).error == pytest.approx(4)


def test_groups_state_the_error():
    (group,) = Measured(
        runs({("ResNet-14", "bn", 0): 2.0, ("ResNet-32", "bn", 0): 2.0, ("ResNet-56", "bn", 0): 2.0})
    ).groups()
    assert (
        group.correction.error == pytest.approx(1) and group.error_uncorrected == pytest.approx(2) and group.cells == 3
    )


def test_the_longest_first():
    def wall(seconds, gpus, width=1, places=1):
        return max((t.ends for t in total.turns([(s, width) for s in seconds], gpus, places)), default=0)

    assert wall([3, 3, 2, 2, 2], 2) == 7  # 6 is possible: it is with the longest first, and said to be
    assert wall([5, 1, 1, 1], 2) == 5 and wall([1, 2, 3], 1) == 6 and wall([1, 2, 3], 9) == 3 and wall([], 4) == 0
    assert wall([2, 2], 4, width=2) == 2 and wall([2, 2], 3, width=2) == 4 and wall([2, 2], 1, width=2) == 4
    assert max(t.ends for t in total.turns([(4, 2), (3, 1), (1, 1)], 3)) == 4
    # Two share a GPU and its speed; the one that is left alone then has all of it.
    assert wall([2, 2], 1, places=2) == 4 and wall([3, 1], 1, places=2) == 4 and wall([2] * 8, 4, places=2) == 4


def test_a_cell_on_several_gpus_takes_the_hours_of_all_of_them():
    alone = load_grid(ROOT / "config.yaml")
    four = load_grid(ROOT / "config.yaml", {"recipes": {"imagenet": {"gpus": 4}}})
    key, gpu = ("ImageNet-ResNet-200", "all", 0), find_gpu("a100-80")
    one, shared = (cost.estimate(g.cells[key], gpu) for g in (alone, four))
    assert one.seconds / 4 < shared.seconds < one.seconds / 3 and shared.memory_bytes < one.memory_bytes / 3
    found = total.costs(four, [key], [gpu], Assumptions(gpus=8))["kinds"][0]
    assert found["seconds"] == pytest.approx(4 * shared.seconds) and found["wall_seconds"] == pytest.approx(
        shared.seconds
    )
    assert found["joules"] == pytest.approx(4 * shared.seconds * gpu.watts)


def test_costs_add_up():
    keys = outputs.select(PAPER, ["fig05", "cifar-depth"])
    assert len(keys) == len(set(keys)) > 490
    found = total.costs(PAPER, keys, [find_gpu("h200"), find_gpu("t4")], Assumptions(gpus=4))
    assert found["trainings"] == len(keys) == sum(g["trainings"] for g in found["groups"])
    assert found["train_flops"] == sum(cost.count_training(PAPER.cells[k]).train_flops for k in keys)
    for kind in found["kinds"]:
        gpu = find_gpu(kind["kind"])
        seconds = [cost.estimate(PAPER.cells[k], gpu).seconds for k in keys]
        assert (
            kind["seconds"]
            == pytest.approx(sum(seconds))
            == pytest.approx(sum(g["seconds"][gpu.name] for g in found["groups"]))
        )
        assert max(seconds) <= kind["wall_seconds"] <= sum(seconds) / 4 + max(seconds)
        assert kind["longest"]["seconds"] == pytest.approx(max(seconds)) and kind["joules"] == pytest.approx(
            sum(seconds) * gpu.watts
        )
        large = {
            f"{a}/{r}" for a, r, s in keys if cost.estimate(PAPER.cells[a, r, s], gpu).memory_bytes > gpu.memory_bytes
        }
        assert set(kind["too_large"]) == large
    assert found["kinds"][1]["too_large"] and json.loads(json.dumps(found)) == found


def test_the_fast_engine_computes_in_bf16_on_a_gpu():
    keys, kinds = outputs.select(PAPER, ["fig08"]), [find_gpu("h200"), find_gpu("cpu")]
    found = total.costs(PAPER, keys, kinds, Assumptions(engine="fast"))["kinds"]
    assert [k["precision"] for k in found] == [["bf16"], ["fp32"]]
    assert total.costs(PAPER, keys, kinds, Assumptions(engine="fast", precision="tf32"))["kinds"][0]["precision"] == [
        "tf32"
    ]
    own = load_grid(ROOT / "config.yaml", {"engine": "fast", "precision": "tf32"})
    for engine, precision in ((None, "tf32"), ("fast", "tf32"), ("reference", "fp32")):
        assert total.costs(own, keys, kinds, Assumptions(engine=engine))["kinds"][0]["precision"] == [precision]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"engine": "fats"}, "unknown engine 'fats'; did you mean 'fast'"),
        ({"precision": "fp16"}, "unknown precision 'fp16'; did you mean '"),
        ({"precision": "bf16"}, "bf16: the reference engine computes in fp32; others need --engine fast"),
    ],
)
def test_engines_and_precisions_that_are_not(words, message):
    with pytest.raises(UserError) as problem:
        total.costs(PAPER, outputs.select(PAPER, ["fig08"]), [find_gpu("h200")], Assumptions(**words))
    assert message in str(problem.value)


def test_everything_is_the_paper_and_a_cell_counts_once():
    assert len(outputs.select(PAPER, [])) == 1220
    assert len(outputs.select(PAPER, ["cifar-depth", "fig02"])) == len(
        set(outputs.select(PAPER, ["cifar-depth", "fig02"]))
    )
    with pytest.raises(UserError, match="did you mean 'cifar-depth'"):
        outputs.select(PAPER, ["cifar-dept"])


def test_constants_are_shares():
    for constants in CONSTANTS.values():
        assert 0 < constants.matrix < 1 and 0 < constants.copy < 1


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with results that took given times on a T4; the command line in it."""
    config = write(tmp_path, mini())
    monkeypatch.chdir(tmp_path)
    cells = resolve(mini()).cells
    for key in [Key("ResNet-8-c4", "bn", 0), Key("ResNet-14-c4", "bn", 0), Key("ResNet-8-c4", "all", 0)]:
        one = 1 / (3 * step_seconds_per_image(cells[key], find_gpu("t4")))
        write_one(tmp_path, cells[key], "metrics", images_per_second=[0.0, one], seconds=[0.0, 1.0])
        relabel(paths.metrics(key.folder), device="cuda", device_name="Tesla T4")

    def call(*arguments):
        return cli.main(["--config", str(config), "-C", str(tmp_path), "cost", *arguments])

    return call


def relabel(path, **changes):
    """Change what a metrics file says of itself, and its checksum with it."""
    from bnonly.grid.cell import parse_cell
    from bnonly.results import parquet

    content, label = parquet.read(path, "metrics")
    cell = parse_cell(json.dumps(label["cell"], sort_keys=True, separators=(",", ":")))
    rest = {k: v for k, v in label.items() if k not in ("kind", "digest", "cell", "sha256")}
    parquet.write(path, "metrics", content.to_pydict(), cell, {**rest, **changes})


def test_runs_are_measured_and_kept(run, capsys, tmp_path):
    assert run("--gpu", "t4", "--json") == 0
    (kind,) = json.loads(capsys.readouterr().out)["kinds"]
    assert kind["measured_share"] == 1 and kind["error_factor"] == pytest.approx(1)
    assert measured.load().correction(
        resolve(mini()).cell("ResNet-8-c4", "rand2", 0), find_gpu("t4")
    ).factor == pytest.approx(3)
    kept = paths.throughputs().read_text()
    path = paths.metrics(Key("ResNet-8-c4", "bn", 0).folder)
    path.unlink()
    assert len(measured.scan().throughputs) == 2 and len(json.loads(paths.throughputs().read_text())["runs"]) == 2
    paths.throughputs().write_text(kept.replace('"device": "t4"', '"device": "t5"'))
    assert measured.load() is None and len(measured.scan().throughputs) == 2
    paths.throughputs().write_text("{")
    assert measured.load() is None and len(measured.scan().throughputs) == 2


def test_a_result_that_is_deleted_during_the_scan_is_left_out(run, monkeypatch):
    """Snakemake deletes the outputs of a job that it starts."""
    listed = Path.glob

    def glob(folder, pattern):
        found = list(listed(folder, pattern))
        paths.metrics(Key("ResNet-8-c4", "bn", 0).folder).unlink()
        return found

    monkeypatch.setattr(Path, "glob", glob)
    assert len(measured.scan().throughputs) == 2


@pytest.mark.parametrize(
    "changes", [{"device_name": "Some Card"}, {"sessions": [{"device_name": "Tesla T4"}, {"device_name": "L4"}]}]
)
def test_a_run_on_an_unknown_device_or_on_two_corrects_nothing(run, changes):
    for key in [Key("ResNet-8-c4", "bn", 0), Key("ResNet-14-c4", "bn", 0), Key("ResNet-8-c4", "all", 0)]:
        relabel(paths.metrics(key.folder), **{"device": "cuda", "device_name": "Tesla T4", **changes})
    assert measured.scan() is None


def test_a_run_on_a_cpu_counts_by_the_core(run):
    cells = resolve(mini()).cells
    key = Key("ResNet-8-c4", "bn", 0)
    relabel(paths.metrics(key.folder), device="cpu", device_name="Some CPU", threads=4)
    found = measured.scan().correction(cells["ResNet-8-c4", "rand2", 0], cpu(16)).factor
    expected = 3 * step_seconds_per_image(cells[key], find_gpu("t4")) / step_seconds_per_image(cells[key], cpu(4))
    assert math.isclose(found, expected, rel_tol=1e-6)


def test_damaged_results_do_not_stop_the_estimate(run, capsys):
    paths.metrics(Key("ResNet-8-c4", "bn", 0).folder).write_bytes(b"PAR1")
    assert run("--gpu", "t4") == 0
    assert "2 runs of 2 cells take 3.00 times the model's time" in capsys.readouterr().out


def test_what_is_missing(run, capsys):
    assert run("--missing", "--gpu", "t4", "--gpu", "cpu:2") == 0
    out = capsys.readouterr().out
    assert out.startswith("3 trainings missing from 'mini'") and "\nt4 " in out and "\ncpu:2 " in out
    assert run("fig05", "--missing", "--json") == 0
    assert json.loads(capsys.readouterr().out)["trainings"] == 1


def test_the_table_says_what_is_measured_and_what_is_a_model(run, capsys):
    run("--gpu", "t4", "--gpu", "h200", "--gpus", "3")
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "measured" in rows["t4"] and "x1.00" in rows["t4"]
    assert "model" in rows["h200"] and "unknown" in rows["h200"]
    assert "on 3" in rows["device"]


def test_columns_of_large_numbers_stay_apart(tmp_path, capsys):
    assert cli.main(["--config", str(ROOT / "config.yaml"), "-C", str(tmp_path), "cost", "--gpu", "cpu:2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (row,) = (re.split(" {2,}", line) for line in lines if line.startswith("cpu:2 "))
    (head,) = (re.split(" {2,}", line) for line in lines if line.startswith("device "))
    assert len(row) - len(head) in (0, 1) and row[4].endswith("days") and "days" not in row[3]


def test_nothing_measured_is_said(tmp_path, capsys):
    assert cli.main(["--config", str(ROOT / "config.yaml"), "-C", str(tmp_path), "cost", "vgg", "--gpu", "A100"]) == 0
    out = capsys.readouterr().out
    assert "120 trainings of 'paper'" in out and "1.2e+18" in out and "Nothing has been measured yet" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fig99",), "fig99: no such figure, table or experiment; "),
        (("--gpu", "h900"), "unknown GPU 'h900'; did you mean 'h"),
        (("--engine", "quick"), "unknown engine 'quick'; one of: reference, fast"),
    ],
)
def test_mistakes(run, capsys, arguments, message):
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("bnonly: error: ") and message in err and err.count("\n") == 1


def test_numbers_are_numbers(run, capsys):
    with pytest.raises(SystemExit):
        run("--gpus", "0")
    assert "must be a whole number of at least 1" in capsys.readouterr().err
