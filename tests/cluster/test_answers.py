"""What SLURM's answers are taken to mean, without a SLURM."""

import json
import os
import time
from types import SimpleNamespace

import pytest
from tests.mini import mini

from bnonly import paths
from bnonly.cluster import batches, limits, preflight, queue, slurm
from bnonly.grid.resolve import resolve
from bnonly.results import lock


@pytest.mark.parametrize(
    "text",
    [
        "Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "Batch job submission failed: Socket timed out on send/recv operation",
        "AssocMaxSubmitJobLimit Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "QOSMaxSubmitJobPerUserLimit Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "Batch job submission failed: Required partition not available (inactive or drain)",
        "Batch job submission failed: the words of a site's own plugin",
    ],
)
def test_a_refusal_that_may_pass_is_tried_again(text):
    assert not slurm.Refused(text).is_final


@pytest.mark.parametrize(
    "text",
    [
        "invalid partition specified: moon Batch job submission failed: Invalid partition name specified",
        "Batch job submission failed: Invalid generic resource (gres) specification",
        "Batch job submission failed: Requested node configuration is not available",
        "Batch job submission failed: Invalid account or account/partition combination specified",
        "Batch job submission failed: Invalid qos specification",
        "Batch job submission failed: Invalid feature specification",
        "Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
        "Memory specification can not be satisfied",
        "QOSMaxWallDurationPerJobLimit Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "QOSMaxGRESPerJob Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
    ],
)
def test_a_refusal_for_good_is_not(text):
    assert slurm.Refused(text).is_final


@pytest.mark.parametrize("reason", ["QOSMaxWallDurationPerJobLimit", "AssocMaxWallDurationPerJobLimit", "QOSMaxGRESPerJob",
                                    "PartitionTimeLimit", "BadConstraints", "JobHeldAdmin", "launch failed requeued held"])  # fmt: skip
def test_a_job_that_waits_for_ever_is_known_by_its_reason(reason):
    assert slurm.will_not_pass(reason)
    assert queue.Job("7", "PENDING", reason, ()).why() == f"pending: {reason}, which will not pass"


@pytest.mark.parametrize(
    "reason",
    [
        "Priority",
        "Resources",
        "BeginTime",
        "QOSMaxJobsPerUserLimit",
        "AssocGrpGRES",
        "ReqNodeNotAvail, Reserved for maintenance",
    ],
)
def test_a_job_that_waits_for_its_turn_is_left_alone(reason):
    assert not slurm.will_not_pass(reason)
    assert queue.Job("7", "PENDING", reason, ()).why() == f"pending: {reason}"


def test_limits_are_read_as_sacctmgr_prints_them(monkeypatch):
    said = {
        "associations": "lab|||3|08:00:00|cpu=8,gres/gpu=1\nlab|other||1||\nelse|||1||\n",
        "qos": "normal||||\nshort|10|01:00:00|mem=8G|gres/gpu=4\nunasked|1|00:01:00||\n",
    }
    monkeypatch.setattr(slurm, "call", lambda *command: said.get(command[4]) if command[0] == "sacctmgr" else "")
    found = limits.find("lab", "short", "gpu")
    assert [(limit.whose, limit.submissions, limit.hours) for limit in found] == [
        ("account lab", 3, 8),
        ("QOS short", 10, 1),
    ]
    assert found[1].most == {"mem": 8192, "gres/gpu": 4}
    assert list(limits.too_much(found, {"cpu": 4, "mem": 16_000, "gres/gpu": 2})) == [
        "the job requests gres/gpu=2, but account lab allows 1; it would never start",
        "the job requests mem=16000, but QOS short allows 8192; it would never start",
    ]


@pytest.mark.parametrize(
    ("said", "states"),
    [("", []), ("7|RUNNING|None|n1|batch a|b\n8|PENDING|Priority||figure\n", ["RUNNING", "PENDING"])],
)
def test_the_queue_is_read_as_squeue_prints_it(monkeypatch, said, states):
    monkeypatch.setattr(slurm, "call", lambda *command: said)
    assert [entry.state for entry in slurm.queue("mine")] == states


@pytest.mark.parametrize("said", [None, "slurm_load_jobs error: try again later\n", "7|RUNNING|None|n1|batch\n\n"])
def test_an_answer_that_cannot_be_read_is_none(monkeypatch, said):
    """Jobs that it does not list have not ended."""
    monkeypatch.setattr(slurm, "call", lambda *command: said)
    assert slurm.queue("mine") is None


def test_a_bad_record_of_a_failure_is_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = {"job": "7", "comment": "batch a 0", "reason": "timeout", "log": ""}
    for name, content in (("a", json.dumps(known)), ("b", json.dumps(known)[:9]), ("c", "[]"), ("d", '{"job": 7}')):
        path = slurm.LOGS / "rule_batch" / name / slurm.FAILURE
        path.parent.mkdir(parents=True)
        path.write_text(content)
    assert slurm.failures() == [known]


@pytest.mark.parametrize(("name", "more"), [("mine", ", with the --profile or --configfile of this run"), ("svhn", "")])
def test_the_command_that_prepares_data_runs_as_it_is_printed(name, more, tmp_path):
    data = tmp_path / "my data"
    recipe = SimpleNamespace(dataset=name, data=SimpleNamespace(layout="small-images"))
    (found,) = preflight._data([SimpleNamespace(recipe=recipe)], data)
    source = "" if name == "svhn" else " --from ..."
    assert f": bnonly --data '{data}' prepare {name}{source}{more}   (docs" in found.text


def test_a_probe_without_srun_says_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    paths.RESULTS.mkdir()
    monkeypatch.setenv("PATH", "")
    found = preflight._probe(resolve(mini() | {"cluster": {"gpu": "none"}}), tmp_path)
    assert [(f.is_problem, f.text) for f in found] == [
        (True, "srun: No such file or directory; --probe needs srun on this machine")
    ]


def test_the_line_that_says_why_a_job_died():
    assert slurm.telling(
        "Building DAG\nOSError: [Errno 30] Read-only file system: '/home/me/.cache'\nsrun: task 0: Exited\n"
    ).startswith("OSError")
    assert slurm.telling("one\ntwo\n") == "two" and slurm.telling("") == ""


def test_the_age_of_a_lock_is_told_by_the_clock_that_stamps_files(tmp_path, monkeypatch):
    """A login node whose clock is an hour ahead takes nobody for dead."""
    path = paths.owner(tmp_path)
    path.write_text(json.dumps({"host": "elsewhere", "process": 1, "job": "7", "token": "t"}))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    assert lock.is_alive(tmp_path, lock.owner_of(tmp_path))
    os.utime(path, (now() - 2 * lock.LEASE,) * 2)
    assert not lock.is_alive(tmp_path, lock.owner_of(tmp_path))


def test_a_slurm_job_leaves_where_another_trains_its_cell(tmp_path, monkeypatch):
    """The others are trained first; what it leaves for is written for the executor, and no attempt is counted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(slurm.SUBMISSION, str(tmp_path / "12"))
    grid = resolve(mini(experiments__cifar_depth__seeds=[0, 1]))
    free, held = (grid.cell("ResNet-8-c4", "bn", s) for s in (0, 1))
    held.key.folder.mkdir(parents=True)
    paths.owner(held.key.folder).write_text(json.dumps({"host": "elsewhere", "process": 1, "job": "7", "token": "t"}))
    lost = grid.cell("ResNet-8-c4", "all", 0)  # trained by this very job on a node that was lost
    lost.key.folder.mkdir(parents=True)
    paths.owner(lost.key.folder).write_text(json.dumps({"host": "elsewhere", "process": 1, "job": "12", "token": "t"}))
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    trained = tmp_path / "trained"

    def train(it) -> int:
        with trained.open("a") as stream:
            print(it, file=stream)
        return 0

    assert batches.run([held, free, lost], train, paths.batch("b"), 12, 12) == batches.AGAIN
    assert trained.read_text() == f"{free}\n{lost}\n" and not paths.batch("b").exists()
    assert (tmp_path / "12.again").read_text() == f"{held} is being trained by process 1 on elsewhere (SLURM job 7)"
