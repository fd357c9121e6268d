"""The demo's DAG, cut small, through `--profile slurm` on a real SLURM of one node, with everything that goes wrong on one.

One story: a workflow with a training that fails once, one that meets its time limit, and one that is cancelled; Snakemake is killed while
a job lives, and started again; then everything is finished, and the checks look at what is left.  It is one test, because a machine has
one SLURM and pytest's workers would each start theirs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from tests.slurm.cluster import USERS, Cluster

from bnonly import paths
from bnonly.config.layers import merge, read_yaml
from bnonly.grid.resolve import resolve
from bnonly.results import parquet

ROOT = Path(__file__).parents[2]
FAULTS = Path(__file__).parent / "faults"
pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.workflow]

#: Six cells in four submissions, two figures.
SMALL = {
    "title": "small",
    "outputs": ["fig05", "fig08"],
    "recipes": {"digits-16": {"epochs": 4, "milestones": [], "batch_size": 256}},
    "experiments": {
        "vgg": {"architectures": ["VGG-11-c16"], "regimes": ["all", "all_noaffine", "bn"], "seeds": [0, 1]},
        "cifar-depth": {
            "recipe": "digits-16", "architectures": ["ResNet-8-c4"], "case_study": "ResNet-8-c4", "regimes": ["all", "bn"], "seeds": [0],
        },
        "cifar-width": None, "imagenet": None, "small": None, "text-depth": None, "text-width": None, "ends": None, "ends-imagenet": None,
        "beyond-affine": None, "beyond-decay": None, "beyond-rates": None, "beyond-rates-no-decay": None,
    },
}  # fmt: skip
CLUSTER = {"partition": "gpu", "gpu": "fake", "gpu_kind": "a100", "cpus": 1, "memory_gb": 1,
           "max_hours": 1 / 6, "warning_seconds": 5, "attempts": 6}  # fmt: skip
#: The default profile without its logger: the checks read Snakemake's own words.
SNAKEMAKES_WORDS = [
    "--workflow-profile",
    "none",
    "--rerun-triggers",
    "params",
    "mtime",
    "--rerun-incomplete",
    "--keep-going",
]
FAILS, NEIGHBOUR = "VGG-11-c16/all/seed0", "VGG-11-c16/all/seed1"
SLOW, CANCELLED, KEPT = "ResNet-8-c4/bn/seed0", "ResNet-8-c4/all/seed0", "VGG-11-c16/all_noaffine/seed0"


class Run:
    """A run's folder, its configuration, and the Snakemake that works on it (in `place`, if that is another folder)."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder, self.place = cluster, folder, folder
        self.faults = folder / "faults"
        self.faults.mkdir(parents=True)
        for made in (folder, self.faults):
            os.chown(made, *[USERS["alice"]] * 2)
        self.overlay, self.config = folder / "overlay.yaml", folder / "config.yaml"
        self.configure()
        self.environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{FAULTS}", "FAULTS": str(self.faults)}
        self.plan({})

    def configure(self, **changes) -> None:
        """Write the configuration, for the workflow as a file over its own, for `bnonly` as a whole."""
        over = merge({**SMALL, "cluster": CLUSTER}, changes)
        self.overlay.write_text(
            yaml.safe_dump({**over, "experiments": {**SMALL["experiments"], **over["experiments"]}})
        )
        whole = merge(
            read_yaml(ROOT / "config.yaml"),
            read_yaml(ROOT / "workflow/profiles/demo/grid.yaml"),
        )
        whole = merge(whole, read_yaml(self.overlay))
        self.config.write_text(yaml.safe_dump(whole))
        self.grid = resolve(whole)

    def plan(self, plan: dict) -> None:
        (self.faults / "plan.json").write_text(json.dumps(plan))

    def snakemake(self, log: str, *arguments: str, target: str = "figures/all") -> subprocess.Popen:
        command = [sys.executable, "-m", "snakemake", "--profile", "slurm", *SNAKEMAKES_WORDS, "--directory", self.place, "--configfile", ROOT / "slurm/cluster.yaml", ROOT / "demo/grid.yaml", self.overlay,
                   "--bnonly-slurm-poll", "2", "--latency-wait", "10", *arguments, "--", *target.split()]  # fmt: skip
        with (self.folder / log).open("w") as out:
            return subprocess.Popen(
                self.cluster.command(command, "alice"), cwd=ROOT, env=self.environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )  # fmt: skip

    def said(self, log: str) -> str:
        return (self.folder / log).read_text()

    def status(self) -> dict:
        command = [
            sys.executable,
            "-m",
            "bnonly",
            "--config",
            self.config,
            "--profile",
            "slurm",
            "-C",
            self.place,
            "status",
            "--json",
        ]
        done = self.call(command)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def call(self, command: list) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.cluster.command(command, "alice"), cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=120
        )  # fmt: skip

    def state(self, cell: str) -> str:
        return next(c["state"] for c in self.status()["cells"] if c["cell"] == cell)

    def label(self, cell: str) -> dict:
        return parquet.read_label(paths.metrics(self.folder / "results" / cell))

    def begun(self, cell: str) -> list[list[str]]:
        """(job, GPU) of every training that has been started."""
        path = self.faults / f"{cell.replace('/', '+')}.began"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def until(condition, what: str, seconds: float = 240):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s for: {what}")
        time.sleep(0.5)
    return found


def end(process: subprocess.Popen) -> None:
    """Take a Snakemake away as it stands, as a login node that is restarted does."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def told(cluster: Cluster, folder: Path) -> Run:
    """Live through it; return the run as it is in the end."""
    run = Run(cluster, folder)
    run.plan(
        {
            FAILS: {"error": 1},
            SLOW: {"seconds": 10, "times": 1},  # four minutes at its first attempt
            CANCELLED: {"hold": "cancelled"},
            KEPT: {"hold": "kept"},
        }
    )
    began = time.monotonic()
    first = run.snakemake("first.log")
    processes = [first]
    try:
        until(lambda: all(run.begun(c) for c in (CANCELLED, KEPT, SLOW)) or first.poll() is not None, "the jobs' start")
        assert first.poll() is None, run.said("first.log")[-4000:]
        run.while_running = run.status()
        cancelled = run.begun(CANCELLED)[0][0]
        cluster.run("scancel", cancelled)
        (run.faults / "cancelled").touch()
        # SLURM looks at limits every 30 seconds, and may warn a minute early.
        cluster.run("scontrol", "update", f"JobId={run.begun(SLOW)[0][0]}", "TimeLimit=1")
        until(lambda: all(store_has(run, c) for c in (FAILS, NEIGHBOUR, CANCELLED, SLOW)), "what failed to be done")
        # Kill -9 while a job lives; start again.
        living = run.begun(KEPT)[-1][0]
        end(first)
        assert "RUNNING" in cluster.run("squeue", "--job", living, "--format=%T")
        assert run.call(unlock(run)).returncode == 0
        # Another job than the first, so that it does not take that over.
        run.configure(cluster={**CLUSTER, "attempts": 7})
        second = run.snakemake("second.log")
        processes.append(second)
        until(
            lambda: f"(SLURM job {living}), which trains its cells, ends" in run.said("second.log"),
            "the second to wait",
        )
        (run.faults / "kept").touch()
        assert second.wait(240) == 0, run.said("second.log")[-4000:]
    finally:
        for process in processes:
            end(process)
        cluster.run("scancel", "--me", user="alice")
        run.configure()
    run.cancelled, run.living, run.seconds = cancelled, living, time.monotonic() - began
    return run


def unlock(run: Run) -> list[str]:
    files = map(str, (ROOT / "slurm/cluster.yaml", ROOT / "demo/grid.yaml", run.overlay))
    return [
        sys.executable,
        "-m",
        "snakemake",
        "--profile",
        "slurm",
        "--directory",
        str(run.folder),
        "--configfile",
        *files,
        "--unlock",
    ]


def store_has(run: Run, cell: str) -> bool:
    architecture, regime, seed = cell.split("/")
    digest = run.grid.cell(architecture, regime, int(seed.removeprefix("seed"))).digest()
    return (run.folder / paths.finished(digest) / "sha256.json").exists()


def check_it_comes_to_its_manifest(story):
    manifest = json.loads((story.folder / "figures/all").read_text())
    assert [e["name"] for e in manifest["outputs"]] == ["fig05", "fig08"]
    for cell in (FAILS, NEIGHBOUR, SLOW, CANCELLED, KEPT):
        assert story.label(cell)["status"] == "finished"
    assert not list((story.folder / "results/.batches").glob("*"))
    assert all(c["state"] == "done" for c in story.status()["cells"] if not c["cell"].startswith("VGG-11-c16/bn/"))


def check_jobs_ask_for_a_gpu_and_see_it(story):
    for cell in (FAILS, NEIGHBOUR, SLOW, CANCELLED, KEPT):
        assert all(re.fullmatch(r"\d+ [0-3]", " ".join(line)) for line in story.begun(cell))


def check_replicates_share_a_submission(story):
    assert {job for job, _ in story.begun(FAILS)[:1]} == {story.begun(NEIGHBOUR)[0][0]}
    assert story.begun(SLOW)[0][0] != story.begun(CANCELLED)[0][0]


def check_a_failure_is_tried_again_and_costs_its_neighbour_nothing(story):
    assert len(story.begun(FAILS)) == 2 and len(story.begun(NEIGHBOUR)) == 1
    log = (story.folder / "logs/train" / f"{FAILS}.log").read_text()
    assert "a fault of the test's" in log and "finished, test accuracy" in log
    assert not paths.failure(story.folder / "results" / FAILS).exists()


def check_a_time_limit_costs_nothing(story):
    label = story.label(SLOW)
    assert label["resumed"] == len(label["sessions"]) - 1 >= 1
    log = (story.folder / "logs/train" / f"{SLOW}.log").read_text()
    assert "stopped by a signal, checkpoint saved" in log and "continues at epoch" in log
    metrics = parquet.read(paths.metrics(story.folder / "results" / SLOW), "metrics")[0]
    assert metrics.column("epoch").to_pylist() == [0, 1, 2, 3, 4]


def check_a_cancelled_job_is_submitted_again(story):
    jobs = [job for job, _ in story.begun(CANCELLED)]
    assert jobs[0] == story.cancelled and jobs[-1] != story.cancelled
    assert story.label(CANCELLED)["resumed"] >= 1


def check_a_job_that_outlives_snakemake_is_waited_for(story):
    assert [job for job, _ in story.begun(KEPT)] == [story.living], "it was trained once"
    assert "finished earlier with this configuration" not in (story.folder / "logs/train" / f"{KEPT}.log").read_text()


def check_status_while_it_runs(story):
    states = {c["cell"]: c for c in story.while_running["cells"]}
    for cell in (CANCELLED, KEPT):
        assert states[cell]["state"] == "running" and states[cell]["job"] == story.begun(cell)[0][0]
        assert states[cell]["log"] == f"logs/train/{cell}.log"
    assert states["VGG-11-c16/all_noaffine/seed1"]["state"] == "queued"
    assert states["VGG-11-c16/bn/seed0"]["state"] == "missing"
    assert story.while_running["outputs"]["fig08"]["state"] == "waiting"
    assert story.while_running["seconds_left"] > 0


def check_neither_a_lost_memory_nor_a_changed_setting_costs_a_training(story):
    """Without .snakemake: a changed setting is noticed, and changed back it costs no submission."""
    begun = {cell: len(story.begun(cell)) for cell in (FAILS, NEIGHBOUR, SLOW, CANCELLED, KEPT)}
    shutil.rmtree(story.folder / ".snakemake")
    try:
        story.configure(recipes={"digits-16": {"lr": 0.05}})
        dry = story.snakemake("dry.log", "--dry-run")
        assert dry.wait(60) == 0
        assert re.search(r"batch +4\ncollect +6\nfigure +2\n", story.said("dry.log")), story.said("dry.log")[-2000:]
        assert {c["state"] for c in story.status()["cells"]} == {"stale", "missing"}
        # What they would be if that had been computed, and then the setting was changed back.
        for cell in story.grid.cells.values():
            folder = story.folder / cell.key.folder
            if paths.metrics(folder).exists() and cell.regime.name == "all":
                for path in (paths.metrics(folder), paths.weights(folder), paths.batchnorm(folder)):
                    path.unlink()
        for name in ("fig05", "fig08"):
            (story.folder / f"figures/{name}.pdf").unlink()
    finally:
        story.configure()
    assert story.status()["outputs"]["fig08"]["finished"] == 4, "they are in the cache"
    again = story.snakemake("again.log", "--executor", "local", "--cores", "2")
    assert again.wait(120) == 0, story.said("again.log")[-4000:]
    assert re.search(r"job +count\n-+ +-+\ncollect +3\nfigure +2\nmanifest +1\n", story.said("again.log")), story.said(
        "again.log"
    )[:3000]
    assert begun == {cell: len(story.begun(cell)) for cell in begun}
    assert {c["state"] for c in story.status()["cells"]} == {"done", "missing"}


def check_replicates_may_train_side_by_side(story):
    story.configure(cluster={**CLUSTER, "together": True}, recipes={"digits-16": {"lr": 0.3}})
    try:
        assert story.snakemake("together.log", "--dry-run", "--printshellcmds").wait(60) == 0
        asked = [line for line in story.said("together.log").splitlines() if "bnonly batch" in line]
        assert asked and all(" --together " in line for line in asked)
    finally:
        story.configure()


def preflight(run: Run, *settings: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    arguments = [a for s in settings for a in ("--set", s)]
    command = [
        sys.executable,
        "-m",
        "bnonly",
        "--config",
        run.config,
        "-C",
        run.folder,
        *arguments,
        "preflight",
        *options,
    ]
    return run.call(command)


WRONG = [
    ("partition=gpuu", "cluster.partition is 'gpuu', which is not a partition; did you mean 'gpu'?"),
    ("gpu=fakes", "cluster.gpu is 'fakes', which partition gpu does not have; did you mean 'fake'?"),
    ("gpu_kind=a1000", "cluster.gpu_kind is 'a1000', whose speed is unknown"),
    ("warning_seconds=900", "cluster.max_hours must be at least 0.26: a job needs warning_seconds and 30 seconds"),
    ("max_hours=100", "cluster.max_hours must be at most 24, the limit of partition gpu (got 100)"),
    ("cpus=64", "SLURM refuses a training (--partition=gpu"),
    ("constraint=moon", "Invalid feature specification"),
    ("memory=3", "unknown key cluster.memory; did you mean 'memory_gb'?"),
]


def check_preflight_says_what_is_wrong(story):
    for setting, message in WRONG:
        done = preflight(story, f"cluster.{setting}")
        assert done.returncode == 2 and message in done.stderr, setting
        assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def check_preflight_is_content(story):
    done = preflight(story)
    assert done.returncode == 0 and "ready:" in done.stdout, done.stdout + done.stderr
    done = preflight(story, options=("--probe",))
    assert done.returncode == 0, done.stderr


def check_the_workflow_stops_before_it_submits_anything(story):
    try:
        story.configure(cluster={"partition": "moon"})
        changed = story.snakemake("moon.log", "--forcerun", "figure")
        assert changed.wait(60) == 1
    finally:
        story.configure()
    text = story.said("moon.log")
    assert "cluster.partition is 'moon', which is not a partition" in text and "has been submitted" not in text


def check_what_nothing_asks_for_can_be_removed(story):
    config = yaml.safe_load(story.config.read_text())
    config["experiments"]["vgg"]["regimes"] = ["bn"]
    other = story.folder / "other.yaml"
    other.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "bnonly", "--config", other, "-C", story.folder, "prune"]
    kept = len(list((story.folder / "results/.finished").iterdir()))
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "results/.finished/" not in done.stdout, "the last run wants it all"
    (story.folder / paths.CONFIGURATION).write_text(json.dumps(config))
    done = subprocess.run(list(map(str, [*command, "--dry-run"])), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("results/.finished/") == kept - 2
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True, capture_output=True)
    assert len(list((story.folder / "results/.finished").iterdir())) == 2
    assert story.label(FAILS)["status"] == "finished", "results stay"


def test_a_workflow_on_a_real_slurm(cluster):
    story = told(cluster, cluster.home("alice") / "story")
    failed = []
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            try:
                check(story)
            except (Exception, pytest.fail.Exception) as problem:
                failed.append(f"{name}: {type(problem).__name__}: {problem}")
    assert not failed, "\n\n".join(failed)
