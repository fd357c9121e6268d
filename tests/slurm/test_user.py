"""What `preflight` and `status` say on a cluster that misbehaves, with trainings of a second or two."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from tests.slurm.cluster import NODES, USERS
from tests.slurm.test_slurm import CANCELLED, CLUSTER, FAILS, NEIGHBOUR, Run, end, preflight, until

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.workflow, pytest.mark.long]

CELL = f"results/{CANCELLED}/metrics.parquet"
GPU_NODES = [name for name, (_, gpus) in NODES.items() if gpus]


@pytest.fixture
def run(cluster, request):
    found = Run(cluster, cluster.home("alice") / request.node.name)
    found.processes = []
    yield found
    for process in found.processes:
        end(process)
    cluster.run("scancel", "--me", user="alice")
    until(lambda: not cluster.run("squeue", "-h"), "the queue to be empty")
    shutil.rmtree(found.folder)


def start(run: Run, log: str = "said", target: str = CELL):
    process = run.snakemake(log, target=target)
    run.processes.append(process)
    return process


def state(run: Run) -> dict:
    return next(c for c in run.status()["cells"] if c["cell"] == CANCELLED)


def test_a_job_of_a_lost_node_is_queued_again_and_status_says_so(cluster, run):
    run.plan({CANCELLED: {"hold": "go"}})
    process = start(run)
    until(lambda: run.begun(CANCELLED), "the training to begin")
    job = run.begun(CANCELLED)[0][0]
    assert state(run)["state"] == "running"
    node = cluster.run("squeue", "-h", "-j", job, "-o", "%N").strip()
    cluster.end(node)
    try:
        cluster.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
        until(
            lambda: cluster.run("squeue", "-h", "-j", job, "-o", "%T").strip() == "PENDING",
            "the job to be queued again",
        )
        found = state(run)
        assert found["state"] == "queued" and found["job"] == job and found["detail"].startswith("pending: ")
        cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")
        until(lambda: len(run.begun(CANCELLED)) == 2, "the training to go on")
    finally:
        cluster.begin(node)
    (run.faults / "go").touch()
    until(lambda: process.poll() is not None, "Snakemake to end")
    assert process.returncode == 0, run.said("said")[-3000:]
    assert [j for j, _ in run.begun(CANCELLED)] == [job, job] and run.said("said").count("has been submitted") == 1


def test_a_job_that_dies_before_it_begins_is_explained(cluster, run):
    """Snakemake cannot make its cache on the nodes: the probe finds it before, `status` explains it after."""
    cache = cluster.home("alice") / ".cache"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir()
    os.chown(cache, *[USERS["alice"]] * 2)
    for node in GPU_NODES:
        cluster.run("mount", "-t", "tmpfs", "-o", "ro", "none", str(cache), node=node)
    try:
        probed = preflight(run, options=("--probe",))
        assert probed.returncode == 2 and "a compute node cannot start a job: " in probed.stderr
        assert "Read-only file system" in probed.stderr and probed.stderr.count("\n") == 1
        run.configure(cluster={**CLUSTER, "attempts": 2})
        process = start(run)
        until(lambda: process.poll() is not None, "Snakemake to give up")
        assert process.returncode == 1
        failure = next(f for f in run.status()["failures"] if f["what"] == CANCELLED)
        assert "Read-only file system" in failure["reason"] and CELL in failure["retry"]
        assert "Read-only file system" in (run.folder / failure["log"]).read_text()
    finally:
        for node in GPU_NODES:
            cluster.run("umount", str(cache), node=node)
    process = start(run, "again")
    until(lambda: process.poll() is not None, "Snakemake to end")
    assert process.returncode == 0, run.said("again")[-3000:]
    assert len(run.begun(CANCELLED)) == 1 and run.status()["failures"] == []


def test_a_node_without_the_interpreter_is_named(cluster, run):
    """The clone is not on a disk that the nodes see: the probe finds it before, `status` explains it after."""
    for node in GPU_NODES:
        cluster.run("mount", "-t", "tmpfs", "none", sys.prefix, node=node)
    try:
        probed = preflight(run, options=("--probe",))
        assert probed.returncode == 2 and probed.stderr.count("\n") == 1
        assert f"a compute node does not see {sys.executable}: install on a shared disk" in probed.stderr
        run.configure(cluster={**CLUSTER, "attempts": 2})
        process = start(run)
        until(lambda: process.poll() is not None, "Snakemake to give up")
        assert process.returncode == 1
        failure = next(f for f in run.status()["failures"] if f["what"] == CANCELLED)
        assert f"{sys.executable}: not found" in failure["reason"] and CELL in failure["retry"]
        assert "not found" in (run.folder / failure["log"]).read_text()
    finally:
        for node in GPU_NODES:
            cluster.run("umount", sys.prefix, node=node)


@pytest.mark.skipif(Path(sys.prefix).is_relative_to("/tmp"), reason="hides /tmp, and with it this environment")
def test_a_full_tmp_of_a_node_is_named_and_its_remedy_works(cluster, run):
    aside, folder = "/run/aside", cluster.folder
    for node in GPU_NODES:
        cluster.run("sh", "-ec", f"mkdir -p {aside}; mount --bind {folder} {aside}; mount -t tmpfs -o size=64k,mode=1777 none /tmp; mkdir -p {folder}; "
                    f"mount --bind {aside} {folder}; cat /dev/zero > /tmp/full 2> /dev/null || true", node=node)  # fmt: skip
    try:
        probed = preflight(run, options=("--probe",))
        assert probed.returncode == 2 and probed.stderr.count("\n") == 1
        assert "a compute node cannot start a job: OSError: [Errno 28] No space left on device" in probed.stderr
        assert "the node's /tmp is full: set TMPDIR" in probed.stderr
        run.configure(cluster={**CLUSTER, "attempts": 1})
        process = start(run)
        until(lambda: process.poll() is not None, "Snakemake to give up")
        assert process.returncode == 1
        failure = next(f for f in run.status()["failures"] if f["what"] == CANCELLED)
        assert "the node's /tmp is full: set TMPDIR" in failure["reason"] and CELL in failure["retry"]
        assert "No space left" in (run.folder / failure["log"]).read_text()
        (run.faults / "tmp").mkdir(mode=0o777)
        os.chown(run.faults / "tmp", *[USERS["alice"]] * 2)
        run.environment["TMPDIR"] = str(run.faults / "tmp")
        process = start(run, "again")
        until(lambda: process.poll() is not None, "Snakemake to end")
        assert process.returncode == 0, run.said("again")[-3000:]
        assert run.status()["failures"] == [] and len(run.begun(CANCELLED)) == 1
    finally:
        for node in GPU_NODES:
            cluster.run("umount", "-l", str(folder), "/tmp", aside, node=node)


def test_a_full_disk_costs_no_attempt_and_no_finished_result(cluster, run):
    """No space is left while the second of two replicates trains; then there is some again."""
    run.place = cluster.scratch / "run"
    cluster.run("mkdir", str(run.place), user="alice")
    run.configure(cluster={**CLUSTER, "attempts": 1})
    run.plan({NEIGHBOUR: {"hold": "go"}})
    process = start(run, target=" ".join(f"results/{c}/metrics.parquet" for c in (FAILS, NEIGHBOUR)))
    try:
        until(lambda: run.begun(NEIGHBOUR), "the second training to begin")
        cluster.resize("")
        (run.faults / "go").touch()
        while "No space left on device; jobs are submitted again once" not in run.said("said"):
            assert process.poll() is None, run.said("said")[-3000:]
            cluster.resize("")  # files are removed meanwhile
        assert process.poll() is None
    finally:
        cluster.resize("2g")
    until(lambda: process.poll() is not None, "Snakemake to end")
    assert process.returncode == 0, run.said("said")[-3000:]
    said = run.said("said")
    assert said.count("No space left on device") == 1 and "Traceback" not in said
    assert len(run.begun(FAILS)) == 1, "it was finished before"
    assert all(run.state(cell) == "done" for cell in (FAILS, NEIGHBOUR))


def test_a_workflow_started_while_the_controller_is_away_waits_for_it(cluster, run):
    cluster.end("slurmctld")
    try:
        process = start(run)
        until(lambda: "SLURM's controller has not answered since" in run.said("said"), "it to be said")
        assert process.poll() is None
    finally:
        cluster.begin("slurmctld")
    until(lambda: process.poll() is not None, "Snakemake to end")
    assert process.returncode == 0, run.said("said")[-3000:]
    assert run.said("said").count("has not answered") == 1 and len(run.begun(CANCELLED)) == 1


def test_preflight_knows_the_limits_of_accounts(cluster, run):
    def limit(*settings: str) -> None:
        cluster.run("sacctmgr", "-i", "modify", "user", "alice", "set", *settings)

    try:
        limit("MaxSubmitJobs=3", "MaxWall=00:05:00", "MaxTRES=cpu=2")
        done = preflight(run)
        assert "SLURM accepts 3 of your jobs at a time" in done.stdout and "--jobs 3" in done.stdout
        assert "cluster.max_hours must be at most 0.0833, the limit of account lab (got 0.166667)" in done.stderr
        done = preflight(run, "cluster.cpus=4", "cluster.max_hours=0.08", "cluster.warning_seconds=5")
        assert (
            "a training is too large: the job requests cpu=4, but account lab allows 2; it would never start"
            in done.stderr
        )
    finally:
        limit("MaxSubmitJobs=-1", "MaxWall=-1", "MaxTRES=cpu=-1")


def test_status_says_what_is_waited_for(cluster, run):
    """A limit on submissions that is reached, and a limit on time that is set while a job waits."""
    cluster.run("sacctmgr", "-i", "modify", "user", "alice", "set", "MaxSubmitJobs=0")
    try:
        start(run)
        until(lambda: run.status()["waits_for"], "something to be waited for")
        assert run.status()["waits_for"][0].startswith("SLURM accepts no more jobs for now: AssocMaxSubmitJobLimit")
        cluster.run("sacctmgr", "-i", "modify", "user", "alice", "set", "MaxWall=00:01:00", "MaxSubmitJobs=-1")
        until(lambda: state(run)["state"] == "queued", "the job to be submitted")
        until(lambda: "MaxWall" in state(run)["detail"], "SLURM to say why the job waits")
        assert state(run)["detail"] == "pending: AssocMaxWallDurationPerJobLimit, which will not pass"
        assert run.status()["waits_for"] == []
    finally:
        cluster.run("sacctmgr", "-i", "modify", "user", "alice", "set", "MaxSubmitJobs=-1", "MaxWall=-1")
