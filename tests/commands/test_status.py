"""One bad file of a run's folder costs one line, whatever is in it and whatever it is."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from tests.archives import GRID, TRAINED

from bnonly import paths
from bnonly.cluster import slurm
from bnonly.figures import outputs, staleness
from bnonly.grid.cell import Key
from bnonly.results import atomic, cache

CELL = GRID.cells[Key("ResNet-8-c4", "bn", 0)]
OTHER = GRID.cells[Key("ResNet-14-c4", "rand2", 0)]  # not trained
STATE_FILES = {
    "owner": paths.owner(OTHER.key.folder),
    "progress": paths.progress(OTHER.key.folder),
    "failure": paths.failure(OTHER.key.folder),
    "metrics": paths.metrics(OTHER.key.folder),
    "kept metrics": paths.metrics(paths.finished(OTHER.digest())),
    "sums": paths.finished(CELL.digest()) / "sha256.json",
    "drawn": paths.drawn_from("fig05"),
    "throughputs": paths.throughputs(),
    "manifest": paths.MANIFEST,
    "log": Path("logs/figures/fig06.log"),
    "batch": paths.batch("ResNet-14-c4+rand2+0"),
}
CONTENTS = {
    "bytes": b"\xff\xfe\x00",
    "empty": b"",
    "list": b"[1]",
    "deep": b'{"a":' * 50_000,
    "digits": b'{"epoch": %s}' % (b"9" * 5_000),
    "types": b'{"epoch": "x", "epochs": [], "seconds_left": "y", "reason": 1, "times": "z", "digest": [], "runs": {"a": 1}, '
    b'"made_from": 1, "sha256": 2, "host": 1, "process": "p", "job": 2, "token": 3}',
    "infinite": b'{"epoch": 1, "epochs": 1e999, "seconds_left": 1e999, "reason": "r", "times": 1, "digest": "d", "host": "h", '
    b'"process": 99999999999999999999, "job": "", "token": "t", "runs": {"a": {"cell": "{}", "device": "cpu", "images_per_second": "9"}}}',
    "pipe": None,
    "folder": None,
}


@pytest.fixture
def run(made, call):
    """Commands on a run of which five cells are finished; a command that hangs is ended."""
    shutil.copytree(made / "results", "results")
    shutil.copytree(made / "figures", "figures")
    cache.keep(CELL.digest(), [Path(TRAINED) / name for name in paths.TRAINED.values()])
    cache.keep(OTHER.digest(), [Path(TRAINED) / name for name in paths.TRAINED.values()])
    OTHER.key.folder.mkdir(parents=True)

    def hangs(*about):
        raise AssertionError("it waits for something")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(60)
    yield call
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", STATE_FILES)
def test_one_bad_file_costs_one_line(run, name, content):
    path = STATE_FILES[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if content == "pipe":
        os.mkfifo(path)
    elif content == "folder":
        path.mkdir()
    else:
        path.write_bytes(CONTENTS[content])
    status, out, err = run("status", "--json")
    assert (status, err) == (0, "")
    states = {c["cell"]: c["state"] for c in json.loads(out)["cells"]}
    assert len(states) == len(GRID.cells)
    assert {state for cell, state in states.items() if cell != str(OTHER)} == {"done"}
    # A mark that somebody touched a moment ago, on a node we cannot look at, is believed for as long as a lease is.
    running = ["running"] if (name, content) == ("owner", "infinite") else []
    assert states[str(OTHER)] in ("done", "damaged", "missing", *running)
    assert run("status")[0] == 0
    assert run("prune", "--dry-run")[0] == 0


def test_what_others_wrote_does_not_reach_the_terminal_as_codes(run):
    shutil.rmtree(paths.finished(OTHER.digest()))
    reason = "\x1b]0;title\x07\x1b[2Jall is well"
    content = {"reason": reason, "times": 1, "digest": OTHER.digest(), "log": "\x1b[31mlog"}
    atomic.replace(paths.failure(OTHER.key.folder), json.dumps(content).encode())
    out = run("status")[1]
    assert "\x1b" not in out and "\x07" not in out and r"\x1b[2Jall is well" in out
    assert json.loads(run("status", "--json")[1])["failures"][0]["reason"] == reason


@pytest.mark.parametrize("change", ["png", "csv", "pdf"])
def test_a_figure_that_was_changed_is_not_drawn(run, change):
    paths.figure("fig05", change).write_bytes(b"\x00")
    assert json.loads(run("status", "--json")[1])["outputs"]["fig05"]["state"] == "damaged"
    assert (
        staleness.fault_of(outputs.ask(GRID, "fig05")).text == f"figures/fig05.{change} was changed after it was made"
    )


def test_files_are_named_as_seen_from_where_the_user_is(run, monkeypatch):
    cache.keep("0" * 16, [Path(TRAINED) / "metrics.parquet"])
    paths.figure("fig05", "png").write_bytes(b"\x00")
    monkeypatch.chdir("..")
    assert f"run/{paths.finished('0' * 16)}: " in run("prune", "--dry-run")[1]
    monkeypatch.chdir("..")
    assert "fig05 (run/figures/fig05.png was changed after it was made)" in run("export", "out.zip")[1]


def test_a_submission_of_a_figure_that_failed_is_tried_again_by_its_name(run):
    for name, comment in (("a", "figure beyond+affine 0123"), ("b", "figure"), ("c", "manifest  0123")):
        path = slurm.LOGS / "rule_figure" / name / slurm.FAILURE
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"job": "7", "comment": comment, "reason": "timeout", "log": ""}))
    (found,) = json.loads(run("status", "--json")[1])["failures"]
    assert (found["what"], found["reason"]) == ("beyond/affine", "timeout")
    assert found["retry"].endswith(" beyond/affine")


@pytest.mark.parametrize(
    ("rule", "file"), [("counts", paths.counts()), ("claims", paths.CLAIMS), ("report", paths.REPORT)]
)
def test_a_submission_for_the_whole_run_that_failed_is_listed_until_its_file_is_there(run, rule, file):
    file.unlink(missing_ok=True)
    path = slurm.LOGS / f"rule_{rule}" / slurm.FAILURE  # without wildcards, no folder below
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"job": "7", "comment": f"{rule}  0123", "reason": "timeout", "log": ""}))
    (found,) = json.loads(run("status", "--json")[1])["failures"]
    assert (found["what"], found["reason"]) == (rule, "timeout") and found["retry"].endswith(f" {file}")
    file.write_text("")
    assert json.loads(run("status", "--json")[1])["failures"] == []


def test_prune_says_what_it_did(run, monkeypatch):
    for digest in ("0" * 16, "1" * 16):
        cache.keep(digest, [Path(TRAINED) / "metrics.parquet"])
    (paths.RESULTS / ".finished/notes").write_text("mine")
    real = shutil.rmtree

    def refused(path, *how, **more):
        if "0" * 16 in str(path):
            raise PermissionError(13, "Permission denied")
        real(path, *how, **more)

    monkeypatch.setattr(shutil, "rmtree", refused)
    status, out, err = run("prune")
    assert status == 2 and f"{paths.finished('0' * 16)}: could not be removed: Permission denied" in out
    assert "results: 1 could not be removed" in err and err.count("\n") == 1
    assert not paths.finished("1" * 16).exists() and paths.finished("0" * 16).exists()
    assert (paths.RESULTS / ".finished/notes").exists() and paths.finished(CELL.digest()).exists()
