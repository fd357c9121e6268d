"""The command line: help, mistakes in one line, and what each command prints."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.mini import mini, write

from bnonly import paths
from bnonly.commands import cli
from bnonly.grid.cell import Key
from bnonly.grid.resolve import resolve
from bnonly.results import failure

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A configuration and one trained and analysed cell."""
    folder = tmp_path_factory.mktemp("cli")
    config = write(folder, mini())
    for command in ("train", "analyse"):
        extra = ["--quiet"] if command == "train" else []
        assert cli.main(["--config", str(config), "-C", str(folder), command, "ResNet-8-c4", "bn", *extra]) == 0
    return folder


@pytest.fixture
def call(run_folder, monkeypatch, capsys):
    """Run a command in the folder; return (status, output, errors)."""
    monkeypatch.chdir(run_folder)

    def run(*arguments):
        status = cli.main(list(arguments))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.mark.parametrize(
    "command",
    [
        (),
        *[
            (c,)
            for c in "train analyse verify show plot cells status figure counts manifest prepare cost compare export import".split()
        ],
    ],
)
def test_help(command, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main([*command, "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    assert "usage: bnonly" in text and len(text.splitlines()) > 3


def test_show_prints_epochs_and_then_provenance(call):
    status, out, _ = call("show", "ResNet-8-c4", "bn")
    table, body = out.split("\n\n", 1)
    assert status == 0 and [row.split()[0] for row in table.splitlines()] == ["epoch", "0", "1", "2"]
    found = json.loads(call("show", "ResNet-8-c4", "bn", "--json")[1])
    label = found["provenance"]
    assert label["status"] == "finished" and label["cell"]["seed"] == 0
    said = (
        label["digest"],
        label["device_name"],
        label["git_commit"][:12],
        label["data"]["sha256"],
        label["started"][:10],
    )
    assert len(body.splitlines()) < 10 and all(word in body for word in said) and "torch 2" in body
    assert [e["epoch"] for e in found["epochs"]] == [0, 1, 2]


@pytest.mark.parametrize(
    "command",
    [
        "show ResNet-8-c4 bn",
        "verify ResNet-8-c4 bn",
        "cells",
        "cost",
        "trace fig05",
        "status",
        "claims",
        "compare . .",
    ],
)
def test_what_prints_a_table_also_prints_json(command, call):
    """Not a number and infinities have no place in JSON: Python writes them all the same, and other readers stop there."""
    status, out, _ = call(*command.split(), "--json")
    assert status == 0 and json.loads(out, parse_constant=pytest.fail)
    text = call(*command.split())[1]
    assert text and not text.startswith("{")


def test_cells_for_programs(call):
    found = json.loads(call("cells", "--json")[1])
    assert len(found) == 6 and found["results/ResNet-8-c4/bn/seed0"] in call("cells")[1]


def test_a_point_of_a_figure_is_traced_to_its_cells_files_and_code(call):
    found = json.loads(call("trace", "fig05", "ResNet-8-c4", "bn", "--json")[1])
    (training,) = found["trainings"]
    assert training["cell"] == "ResNet-8-c4/bn/seed0" and training["state"] == "done"
    assert training["digest"] == resolve(mini()).cell("ResNet-8-c4", "bn", 0).digest()
    assert training["files"] and all(Path(f).exists() for f in training["files"])
    assert found["made"][0] == "figures/fig05.pdf" and Path(found["code"]).name == "fig05.py"
    assert len(call("trace", "fig05")[1].splitlines()) == 2 + 4
    assert "fig05 does not show 'rand2'" in call("trace", "fig05", "ResNet-8-c4", "rand2")[2]


@pytest.mark.parametrize("command", ["show", "verify", "plot"])
def test_what_is_not_trained_is_named_as_seen_from_here_with_the_command_that_trains_it(call, command):
    Path("elsewhere").mkdir(exist_ok=True)
    status, _, err = call("-C", "elsewhere", command, "ResNet-8-c4", "bn")
    assert status == 2 and err.startswith("bnonly: error: elsewhere/results/ResNet-8-c4/bn")
    assert "first: bnonly -C elsewhere train ResNet-8-c4 bn" in err


def test_a_figure_names_what_it_lacks_as_seen_from_here(call):
    Path("elsewhere").mkdir(exist_ok=True)
    status, _, err = call("-C", "elsewhere", "figure", "fig05")
    assert (
        status == 2
        and "fig05 needs elsewhere/results/" in err
        and err.endswith("draw it: snakemake --directory elsewhere fig05\n")
    )


@pytest.mark.parametrize(
    ("command", "file"),
    [("claims", "results/claims.parquet"), ("counts", "results/counts.csv"), ("trace fig05", "results/ResNet-8-c4/bn")],
)
def test_files_are_named_as_seen_from_here(call, command, file):
    Path("elsewhere").mkdir(exist_ok=True)
    assert f"elsewhere/{file}" in call("-C", "elsewhere", *command.split())[1]


def test_status_estimates_what_is_left_on_this_machine(call, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = json.loads(call("status", "--json")[1])
    assert found["device"] == f"cpu:{resolve(mini()).threads}" and found["seconds_left"] > 0
    assert all(e["seconds_left"] > 0 for e in found["experiments"].values() if e["missing"])
    out = call("status")[1]
    assert f"one after another on {found['device']}" in out and "unknown" not in out


def test_status_says_in_a_line_what_waits_and_lists_it_on_request(call):
    out = call("status")[1]
    waiting = [n for n, e in json.loads(call("status", "--json")[1])["outputs"].items() if e["state"] == "waiting"]
    assert len(waiting) > 1 and f"waiting:  {len(waiting)} figures and tables wait for training" in out
    rows = [line.split() for line in call("status", "--outputs")[1].splitlines()]
    assert ["fig05", "waiting", "1/4"] in [row[:3] for row in rows]


def test_status_says_which_cells_experiments_share(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["--config", str(ROOT / "config.yaml"), "status"]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("cifar-width "))
    assert row.split()[1] == "420" and row.endswith("(70 shared with rows above)")


def test_a_new_profile_trains_and_shows_a_question_of_ones_own(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "config.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "gammas"]) == 0 and "snakemake --profile gammas trainings" in capsys.readouterr().out
    assert cli.main(["--profile", "gammas", "-C", str(tmp_path), "cells"]) == 0
    assert capsys.readouterr().out.split()[1::2] == [
        f"results/ResNet-14/{regime}/seed{seed}" for regime in ("mine", "bn") for seed in (0, 1)
    ]
    monkeypatch.chdir(tmp_path)
    for name, said in (("gammas", "already exists"), ("../x", "must consist of letters"), ("2024", "must not be"), ("no", "must not be"), ("vgg", "has this name")):  # fmt: skip
        assert cli.main(["new", name]) == 2 and said in capsys.readouterr().err
    assert cli.main(["--profile", "gammas", "new", "betas"]) == 0
    # Beside the first, not in its run's folder, and over config.yaml, not over the first.
    assert "  vgg: null\n" in (tmp_path / "betas/grid.yaml").read_text()


@pytest.mark.parametrize("general", [(), ("--profile", "demo")])
def test_without_a_command_the_help_is_printed(call, general):
    status, out, err = call(*general)
    assert (status, out) == (2, "") and err.startswith("usage: bnonly") and "examples:" in err and "error" not in err


@pytest.mark.parametrize(("given", "meant"), [("tarin", "train"), ("statsu", "status"), ("fig", "figure")])
def test_a_misspelt_command_is_answered(call, given, meant):
    status, _, err = call(given)
    assert (status, err) == (2, f"bnonly: error: no command '{given}'; did you mean '{meant}'?\n")


@pytest.mark.parametrize("command", ["cost", "figure", "trace"])
@pytest.mark.parametrize("given", ["fig2", "figure2", "figure02"])
def test_a_figure_without_its_zero_is_answered(call, command, given):
    assert "did you mean 'fig02'?" in call("--config", str(ROOT / "config.yaml"), command, given)[2]


def test_the_version_and_what_the_help_leaves_out(capsys):
    for arguments, said in ((["--version"], "bnonly 0."), (["--help"], "train")):
        with pytest.raises(SystemExit) as done:
            cli.main(arguments)
        out = capsys.readouterr().out
        assert done.value.code == 0 and said in out
        for left_out in ("collect", "counts", "manifest", "--spec"):
            assert left_out not in out


@pytest.mark.parametrize("command", ["status", "prune", "report", "manifest"])
def test_a_folder_that_is_not_there_is_a_mistake(call, command, tmp_path):
    status, _, err = call("-C", str(tmp_path / "typo"), command)
    assert status == 2 and f"-C {tmp_path}/typo: no such folder" in err and not (tmp_path / "typo").exists()


def test_a_batch_trains_in_the_folder_it_is_given(call, tmp_path):
    cell = resolve(mini()).cell("ResNet-8-c4", "bn", 0)
    marker = tmp_path / "marker"
    given = ("-C", str(tmp_path), "batch", "--cells", json.dumps([cell.canonical()]), "--marker", str(marker))
    assert call(*given)[0] == 0
    assert marker.exists()
    assert (tmp_path / paths.finished(cell.digest())).exists()


def test_a_plot_is_drawn(call, tmp_path):
    status, out, _ = call("plot", "ResNet-8-c4", "bn")
    made = [Path(line) for line in out.split()]
    assert status == 0 and [p.name for p in made] == [f"ResNet-8-c4-bn.{suffix}" for suffix in paths.FIGURE_FORMATS]
    assert all(p.stat().st_size for p in made)
    with made[-1].open() as stream:
        rows = list(csv.DictReader(stream))
    epochs = {what: [r["epoch"] for r in rows if r["quantity"] == what] for what in ("test_top1", "train_loss")}
    assert epochs == {"test_top1": ["0", "1", "2"], "train_loss": ["1", "2"]}  # nothing was trained in epoch 0
    assert call("plot", "ResNet-8-c4", "bn", "--output", str(tmp_path / "new/mine.png"))[0] == 0
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["mine.png"]
    status, _, err = call("plot", "ResNet-8-c4", "bn", "--output", "mine.svg")
    assert (status, err) == (2, "bnonly: error: --output mine.svg: must end in .png, .pdf or .csv\n")


def test_verify_confirms_the_accuracy(call):
    status, out, _ = call("verify", "ResNet-8-c4", "bn")
    found = out.split("test accuracy ")[1].split("%")[0]
    assert status == 0 and out.strip().endswith(f"recorded {found}%")


def test_cells_are_listed_with_their_digests(call):
    status, out, err = call("cells")
    assert status == 0 and err.strip() == "6 cells"
    cell = resolve(mini()).cell("ResNet-14-c4", "rand2", 0)
    assert f"{cell.digest()} results/ResNet-14-c4/rand2/seed0" in out.splitlines()


def test_cells_of_a_figure(call):
    status, out, err = call("cells", "--figure", "fig05")
    assert status == 0 and err.strip() == "4 cells" and "rand2" not in out


def test_options_stand_before_or_after_the_command(call):
    before = call("--set", "recipes.digits.lr=0.7", "--set", "seeds=[0, 1]", "cells")
    assert before == call("--set", "recipes.digits.lr=0.7", "cells", "--set", "seeds=[0, 1]")
    assert before == call("cells", "--set", "recipes.digits.lr=0.7", "--set", "seeds=[0, 1]") != call("cells")


def test_status_counts_the_cells(call, run_folder):
    header, row = (
        next(r for r in call("status")[1].splitlines() if r.startswith(n)) for n in ("experiment", "cifar-depth")
    )
    assert header.split()[:4] == ["experiment", "cells", "done", "missing"] and row.split()[:4] == [
        "cifar-depth",
        "6",
        "1",
        "5",
    ]


def test_status_for_programs(call, run_folder):
    """Every cell has a state; a failure its reason, log and remedy."""
    cell = resolve(mini()).cell("ResNet-14-c4", "bn", 0)
    folder = cell.key.folder
    log = cell.key.log("train")
    log.parent.mkdir(parents=True)
    log.touch()
    failure.record(cell, folder, "the reason")
    found = json.loads(call("status", "--json")[1])
    states = {c["cell"]: c["state"] for c in found["cells"]}
    assert states["ResNet-8-c4/bn/seed0"] == "done" and states[str(cell)] == "failed"
    assert set(states.values()) == {"done", "failed", "missing"}
    assert found["failures"] == [
        {"what": str(cell), "reason": "the reason", "log": str(log), "retry": f"snakemake {paths.metrics(folder)}"}
    ]
    assert found["experiments"]["cifar-depth"]["failed"] == 1 and found["outputs"]["fig05"]["state"] == "waiting"
    text = call("status")[1]
    assert "failed:   ResNet-14-c4/bn/seed0: the reason" in text and f"again: snakemake {folder}" in text
    paths.checkpoint(folder, cell.digest()).touch()
    failure.forget(folder)
    assert "paused" in {c["state"] for c in json.loads(call("status", "--json")[1])["cells"]}
    paths.checkpoint(folder, cell.digest()).unlink()


def test_status_knows_stale_and_damaged(call, run_folder):
    changed = call("--set", "recipes.digits.lr=0.7", "status")[1]
    assert "stale:    ResNet-8-c4/bn/seed0" in changed
    folder = Key("ResNet-8-c4", "all", 0).folder
    folder.mkdir(parents=True, exist_ok=True)
    paths.metrics(folder).write_bytes(b"PAR1")
    assert "damaged:  ResNet-8-c4/all/seed0" in call("status")[1]
    paths.metrics(folder).unlink()


@pytest.mark.parametrize(("given", "used"), [((), 3), (("--threads", "1"), 1)])
def test_by_hand_a_cell_has_the_threads_of_the_configuration(given, used, call, monkeypatch):
    from bnonly.train import run

    seen = []
    monkeypatch.setattr(run, "train_cell", lambda cell, folder, options: seen.append(options.threads))
    assert call("--set", "threads=3", "train", "ResNet-8-c4", "bn", *given)[0] == 0
    assert seen == [used]


def test_counts_are_written(call):
    status, out, _ = call("counts")
    assert status == 0 and Path(out.strip()).read_text().splitlines()[0].startswith(
        "architecture,family,depth,channels"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "ResNet-9", "bn"), "no experiment has architecture 'ResNet-9'; did you mean"),
        (("train", "ResNet-8-c4", "bm"), "did you mean 'bn'"),
        (("train", "ResNet-8-c4", "bn", "--seed", "9"), "ResNet-8-c4/bn has seeds [0], not 9"),
        (("train",), "name an architecture and a regime"),
        (("train", "ResNet-8-c4", "--spec", "{}"), "--spec describes the whole cell"),
        (("--resolved", "absent.json", "figure", "fig05"), "absent.json: cannot be read"),
        (("-C", "config.yaml", "status"), "config.yaml: File exists"),
        (("train", "--spec", "{}"), "not a cell's specification"),
        (("show", "ResNet-8-c4", "all"), "metrics.parquet: no such file; train the cell first"),
        (("verify", "ResNet-8-c4", "all"), "metrics.parquet: no such file; train the cell first"),
        (("analyse", "ResNet-8-c4", "all"), "metrics.parquet: no such file; train the cell first"),
        (("figure", "fig05"), "which does not exist; train what is missing and draw it: snakemake fig05"),
        (("figure", "fig99"), "no figure or table is called fig99"),
        (("--config", "absent.yaml", "status"), "absent.yaml: no such file; run bnonly from the repository's root"),
        (("--profile", "absent", "status"), "--profile absent: no such profile"),
        (("--set", "lr", "status"), "--set lr: expected KEY=VALUE"),
        (("--set", "recipes.digits.lr=[", "status"), "--set recipes.digits.lr: not YAML"),
        (("--set", "recipes.digits.lrr=1", "status"), "unknown key recipes.digits.lrr; did you mean 'lr'?"),
    ],
)
def test_mistakes_are_one_line_and_status_2(call, arguments, message):
    status, _, err = call(*arguments)
    assert status == 2
    assert err.startswith("bnonly: error: ") and message in err and err.count("\n") == 1


@pytest.mark.parametrize("threads", ["0", "-1", "many"])
def test_threads_are_a_number(threads, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["train", "a", "b", f"--threads={threads}"])
    assert done.value.code == 2 and "must be a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["nan", "-1", "often"])
def test_seconds_between_checkpoints_are_a_number(seconds, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["train", "a", "b", f"--checkpoint-seconds={seconds}"])
    assert done.value.code == 2 and f"must be at least 0 and below 1e+09 (got {seconds})" in capsys.readouterr().err


def test_a_specification_cannot_leave_the_results(call):
    cell = resolve(mini()).cell("ResNet-8-c4", "bn", 0).canonical()
    status, _, err = call("train", "--spec", cell.replace('"ResNet-8-c4"', '"../escaped"'))
    assert status == 2 and "not a cell's specification (architecture.name: " in err and err.count("\n") == 1


def test_profile_means_what_snakemake_means(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert cli.main(["--profile", "demo", "-C", str(tmp_path), "cells"]) == 0
    captured = capsys.readouterr()
    assert captured.err.strip() == "226 cells" and "results/ResNet-26/bn/seed1" in captured.out


@pytest.mark.parametrize(
    ("over", "given", "said"),
    [
        ({"recipes": {"digits": {"epoch": 1}}}, (), "profile/grid.yaml: unknown key recipes.digits.epoch; did you mean 'epochs'?"),
        ({"recipes": {"digits": {"lr": -1}}}, (), "profile/grid.yaml: recipes.digits.lr must be greater than 0 (got -1)"),
        (
            {"recipes": {"digits": {"epochs": 1}}},
            (),
            "config.yaml with profile/grid.yaml: recipes.digits.milestones must end before epochs, 1 (got [1])",
        ),
        ({"title": "x"}, ("--set", "recipes.digits.lr=-1"), "--set recipes.digits.lr=-1: recipes.digits.lr must be greater than 0 (got -1)"),
        ({"experiments": None}, (), "profile/grid.yaml: experiments is missing"),
    ],
)  # fmt: skip
def test_mistakes_name_the_file_that_has_them(over, given, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, mini())
    (tmp_path / "profile").mkdir()
    write(tmp_path / "profile", over).rename(tmp_path / "profile/grid.yaml")
    (tmp_path / "profile/config.yaml").write_text("configfile: grid.yaml\n")
    assert cli.main(["--profile", "profile", *given, "cells"]) == 2
    assert capsys.readouterr().err.startswith(f"bnonly: error: {said}")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--set", "recipes.digts.lr=1", "cells"), "recipes has no digts; did you mean 'digits'?"),
        (("status", "--everything"), "unrecognized arguments: --everything"),
    ],
)
def test_misspelt_options(given, said, tmp_path, bnonly):
    done = bnonly("--config", write(tmp_path, mini()), *given)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("said", "expected"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)]
)
def test_waiting_threads_soon_sleep_unless_a_person_says_otherwise(monkeypatch, said, expected):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # restored afterwards, also if `main` sets it
        monkeypatch.delenv(name)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cli, "run", lambda given: 0)
    assert cli.main(["cells"]) == 0 and os.environ.get("GOMP_SPINCOUNT") == expected
    code = "import bnonly.commands.cli, sys; sys.exit('torch' in sys.modules)"  # torch would have read it by then
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
