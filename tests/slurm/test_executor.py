"""The executor on a cluster that misbehaves: jobs of a workflow that does nothing, each held until the test lets it go.

A test waits for moments ("the job has begun", "it was said that ..."), never for a time; `until` only ends what would never end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.workflow, pytest.mark.long]

SNAKEFILE = """
rule all:
    input: expand("done/{name}", name=config["names"])
rule job:
    output: "done/{name}"
    params: name="{name}"
    retries: 2 if workflow.is_main_process else 0
    resources:
        runtime=10, mem_mb=300, slurm=config["options"], attempt=lambda wildcards, attempt: attempt
    shell:
        "echo $SLURM_JOB_ID $SLURM_NODELIST $CUDA_VISIBLE_DEVICES attempt={resources.attempt} >> began.{wildcards.name}; "
        "while [ ! -e go.{wildcards.name} ]; do sleep 0.1; done; read code < go.{wildcards.name}; [ $code = 0 ] && touch {output}"
"""
GPU = "--partition=gpu --nodes=1 --gres=gpu:fake:1"


class Flow:
    """A workflow of alice's in a folder of its own."""

    def __init__(self, cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        folder.mkdir()
        (folder / "Snakefile").write_text(SNAKEFILE)
        os.chown(folder, *[cluster.home("alice").stat().st_uid] * 2)
        self.process: subprocess.Popen | None = None

    def start(self, *names: str, options: str = GPU, log: str = "said") -> None:
        self.names, self.log = names, self.folder / log
        (self.folder / "config.json").write_text(json.dumps({"names": names, "options": options}))
        command = [sys.executable, "-m", "snakemake", "--executor", "bnonly-slurm", "--bnonly-slurm-poll", "1", "--jobs", "50",
                   "--latency-wait", "10", "--configfile", "config.json"]  # fmt: skip
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                self.cluster.command(command, "alice"), cwd=self.folder, stdout=out, stderr=out, start_new_session=True
            )  # fmt: skip

    def began(self, name: str) -> list[str]:
        """Return a line for each time that a job has begun."""
        path = self.folder / f"began.{name}"
        return path.read_text().splitlines() if path.exists() else []

    def until_begun(self, name: str, times: int = 1) -> str:
        self.until(lambda: len(self.began(name)) >= times, f"{name} to begin {times} times")
        return self.began(name)[-1].split()[0]

    def until_said(self, text: str) -> None:
        self.until(lambda: text in self.said(), f"'{text}'")

    def until(self, condition, what: str, seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"waited {seconds:g} s for {what}:\n{self.said()[-3000:]}")
            time.sleep(0.1)

    def go(self, *names: str, code: int = 0) -> None:
        for name in names:
            (self.folder / f"go.{name}").write_text(f"{code}\n")

    def said(self) -> str:
        return self.log.read_text()

    def ends(self) -> int:
        assert self.process is not None
        self.until(lambda: self.process.poll() is not None, "Snakemake to end")
        return self.process.wait()

    def kill(self) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def submissions(self) -> int:
        return self.said().count("has been submitted as SLURM job")

    def state(self, job: str) -> str:
        return self.cluster.run("squeue", "-h", "--states=all", "-j", job, "-o", "%T").strip()


@pytest.fixture
def flow(cluster, request):
    found = Flow(cluster, cluster.home("alice") / request.node.name)
    yield found
    found.kill()
    for user in ("alice", "bob"):
        cluster.run("scancel", "--me", user=user)
    found.until(lambda: not cluster.run("squeue", "-h"), "the queue to be empty")
    shutil.rmtree(found.folder, ignore_errors=True)


@pytest.mark.parametrize("database", ["there", "away, too"])
def test_an_outage_of_the_controller_is_waited_out(cluster, flow, database):
    """Jobs that end meanwhile are noticed, and so are those that go on."""
    flow.start("ends", "goes-on")
    flow.until_begun("ends")
    flow.until_begun("goes-on")
    if database == "away, too":
        cluster.end("slurmdbd")
    cluster.end("slurmctld")
    try:
        flow.until_said("SLURM's controller has not answered since")
        assert "has not answered" in (flow.folder / ".snakemake/slurm_logs/waits_for.txt").read_text()
        flow.go("ends")
        flow.until(lambda: list(flow.folder.glob(".snakemake/slurm_logs/rule_job/ends/*.exit")), "the job to end")
        assert flow.process.poll() is None
    finally:
        if database == "away, too":
            cluster.begin("slurmdbd")
        cluster.begin("slurmctld")
    flow.until_said("SLURM's controller answers again, after")
    flow.until_said("1 of 3 steps")
    flow.go("goes-on")
    assert flow.ends() == 0
    assert flow.said().count("has not answered since") == 1 and flow.submissions() == 2
    assert len(flow.began("ends")) == len(flow.began("goes-on")) == 1


def test_submissions_during_an_outage_are_no_attempts(cluster, flow):
    cluster.end("slurmctld")
    try:
        flow.start("a", "b")
        flow.until_said("SLURM's controller has not answered since")
        assert flow.process.poll() is None and flow.submissions() == 0
    finally:
        cluster.begin("slurmctld")
    flow.until_begun("a")
    flow.until_begun("b")
    flow.go("a", "b")
    assert flow.ends() == 0
    assert [line.split()[-1] for line in flow.began("a") + flow.began("b")] == ["attempt=1", "attempt=1"]


def test_a_limit_on_submissions_is_kept_to(cluster, flow):
    """Five jobs where two are allowed at a time; the limit is raised while they wait."""
    cluster.run("sacctmgr", "-i", "modify", "user", "alice", "set", "MaxSubmitJobs=2")
    try:
        flow.start(*"abcde")
        flow.until_said("SLURM accepts no more jobs for now: AssocMaxSubmitJobLimit")
        flow.until(lambda: sum(bool(flow.began(n)) for n in "abcde") == 2, "two to begin")
        first = next(n for n in "abcde" if flow.began(n))
        flow.go(first)
        flow.until(lambda: sum(bool(flow.began(n)) for n in "abcde") == 3, "a third to begin")
    finally:
        cluster.run("sacctmgr", "-i", "modify", "user", "alice", "set", "MaxSubmitJobs=-1")
    flow.go(*"abcde")
    assert flow.ends() == 0
    assert all(len(flow.began(n)) == 1 and flow.began(n)[0].endswith("attempt=1") for n in "abcde")
    assert flow.submissions() == 5


def test_a_preempted_job_that_slurm_does_not_requeue_is_submitted_again(cluster, flow):
    flow.start("a", options="--partition=spare --nodes=1 --gres=gpu:fake:2")
    flow.until_begun("a")
    node = flow.began("a")[0].split()[1]
    urgent = cluster.run("sbatch", "--parsable", "--partition=urgent", f"--nodelist={node}", "--gres=gpu:fake:2", "--wrap=sleep 1000", "-D/", "-o/dev/null", user="bob").strip()  # fmt: skip
    flow.until_said(": preempted; it is submitted again")
    flow.until_begun("a", 2)
    cluster.run("scancel", urgent)
    flow.go("a")
    assert flow.ends() == 0
    assert [line.split()[-1] for line in flow.began("a")] == ["attempt=1", "attempt=1"] and flow.submissions() == 2


def test_a_lost_node_costs_no_attempt(cluster, flow):
    flow.start("a")
    job = flow.until_begun("a")
    node = flow.began("a")[0].split()[1]
    cluster.end(node)
    try:
        cluster.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
        cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # SLURM would wait two minutes
        flow.until_begun("a", 2)
    finally:
        cluster.begin(node)
    flow.go("a")
    assert flow.ends() == 0
    assert [line.split()[0] for line in flow.began("a")] == [job, job], "SLURM itself has requeued it"
    assert flow.began("a")[1].split()[1] != node and flow.began("a")[1].endswith("attempt=1")


def test_several_gpus_are_on_one_node_and_types_may_be_as_nvml_names_them(cluster, flow):
    flow.start("a", options="--partition=gpu --nodes=1 --gres=gpu:nvidia_a100-sxm4-80gb:2")
    flow.until_begun("a")
    flow.go("a")
    assert flow.ends() == 0
    assert flow.began("a")[0].split()[1:3] == ["g3", "0,1"]


def test_what_slurm_will_never_take_is_said_once(cluster, flow):
    """An unknown type of GPU in the middle of a run: what runs goes on to its end, nothing is tried twelve times."""
    flow.start("a", "b", "c", options="--partition=gpu --nodes=1 --gres=gpu:moon:1")
    assert flow.ends() == 1
    assert flow.said().count("bnonly: error: SLURM refuses job") == 1
    assert "Traceback" not in flow.said() and "Trying to restart" not in flow.said()
    assert (
        "Requested node configuration is not available"
        in json.loads((flow.folder / ".snakemake/slurm_logs/rule_job/a/failure.json").read_text())["reason"]
    )


def test_a_partition_that_is_removed_while_a_job_waits(cluster, flow):
    """What is done stays done; what SLURM no longer takes is said once."""
    cluster.run("scontrol", "create", "PartitionName=fleeting", "Nodes=g1,g2", "MaxTime=60", "DefMemPerCPU=500")
    cluster.run("sacctmgr", "-i", "modify", "user", "alice", "set", "MaxSubmitJobs=1")
    try:
        flow.start("a", "b", options="--partition=fleeting --nodes=1 --gres=gpu:fake:1")
        flow.until_said("SLURM accepts no more jobs for now: AssocMaxSubmitJobLimit")
        flow.until(lambda: flow.began("a") or flow.began("b"), "one to begin")
        done, waits = ("a", "b") if flow.began("a") else ("b", "a")
        cluster.run("sacctmgr", "-i", "modify", "user", "alice", "set", "MaxSubmitJobs=0")
        flow.go(done)
        flow.until_said("1 of 3 steps")
        cluster.run("scontrol", "delete", "PartitionName=fleeting")
    finally:
        cluster.run("sacctmgr", "-i", "modify", "user", "alice", "set", "MaxSubmitJobs=-1")
    assert flow.ends() == 1
    refused = [line for line in flow.said().splitlines() if "bnonly: error: " in line]
    assert len(refused) == 1 and f"SLURM refuses job {waits}: invalid partition specified: fleeting" in refused[0]
    assert "Traceback" not in flow.said() and (flow.folder / f"done/{done}").exists() and flow.submissions() == 1


def test_a_type_of_gpu_that_is_renamed_while_jobs_wait(cluster, flow):
    """They wait in SLURM for a node that is down, and whose GPUs get another name meanwhile."""
    files = [cluster.folder / "etc/slurm" / name for name in ("slurm.conf", "gres.conf")]
    before = [path.read_text() for path in files]

    def configure(gpu: str) -> None:
        cluster.end("slurmctld")
        for path, text in zip(files, before, strict=True):
            path.write_text(text.replace("nvidia_a100-sxm4-80gb", gpu))
        cluster.begin("slurmctld")

    flow.start("a", options=GPU)
    flow.go("a")
    assert flow.ends() == 0
    # Said to be down first: the controller gives jobs to a node that it has not yet missed.
    cluster.run("scontrol", "update", "NodeName=g3", "State=DOWN", "Reason=test")
    cluster.end("g3")
    try:
        flow.start("a", "b", "c", options="--partition=gpu --nodes=1 --gres=gpu:nvidia_a100-sxm4-80gb:1", log="renamed")
        flow.until(lambda: flow.submissions() == 2, "submissions")
        configure("renamed")
        assert flow.ends() == 1
    finally:
        configure("nvidia_a100-sxm4-80gb")
        cluster.run("scontrol", "update", "NodeName=g3", "State=RESUME")
        cluster.begin("g3")
    assert flow.said().count("bnonly: error: SLURM refuses job") == 1 and "Traceback" not in flow.said()
    assert flow.submissions() == 2 and (flow.folder / "done/a").exists() and len(flow.began("a")) == 1


def test_a_job_that_waits_for_ever_is_named(cluster, flow):
    """A limit that does not deny: SLURM takes the job and never starts it."""
    cluster.run("sacctmgr", "-i", "modify", "user", "alice", "set", "MaxWall=00:05:00")
    try:
        flow.start("a")
        flow.until_said("will not start: AssocMaxWallDurationPerJobLimit")
    finally:
        cluster.run("sacctmgr", "-i", "modify", "user", "alice", "set", "MaxWall=-1")
    flow.until_begun("a")
    flow.go("a")
    assert flow.ends() == 0 and flow.said().count("will not start") == 1


def test_jobs_of_a_snakemake_that_was_killed_are_taken_over(cluster, flow):
    flow.start("a", "b")
    job = flow.until_begun("a")
    flow.until_begun("b")
    flow.kill()
    flow.go("b")
    cluster.run(sys.executable, "-m", "snakemake", "--unlock", "--configfile", str(flow.folder / "config.json"), "-d", str(flow.folder), "-s", str(flow.folder / "Snakefile"), user="alice")  # fmt: skip
    flow.until(lambda: (flow.folder / "done/b").exists(), "b to end")
    flow.start("a", "b", log="again")
    flow.until_said(f"is SLURM job {job} of an earlier run, which continues")
    flow.go("a")
    assert flow.ends() == 0
    assert len(flow.began("a")) == 1 and flow.submissions() == 0


def test_a_job_that_fails_is_tried_again_and_its_reason_kept(cluster, flow):
    flow.start("a")
    flow.until_begun("a")
    flow.go("a", code=1)
    assert flow.ends() == 1
    assert [line.split()[-1] for line in flow.began("a")] == ["attempt=1", "attempt=2", "attempt=3"]
    record = json.loads((flow.folder / ".snakemake/slurm_logs/rule_job/a/failure.json").read_text())
    assert record["job"] == flow.began("a")[-1].split()[0] and Path(record["log"]).exists()
