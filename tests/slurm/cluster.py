"""A cluster of one node, this machine, for tests: munge, slurmctld and slurmd from Debian's packages, loopback only, fake GPUs.

    python tests/slurm/cluster.py up FOLDER        then SLURM's commands work:  sinfo, squeue, sbatch ...
    python tests/slurm/cluster.py down FOLDER      ends what `up` started, by process number

Needs root, because GPUs are devices and SLURM changes users, and `apt-get install slurm-wlm munge`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

PACKAGES = ("slurm-wlm", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo", "srun")
#: Where SLURM's programs look when nothing else tells them; the executor's job step forgets SLURM_CONF.
CONFIGURATION = Path("/etc/slurm")
PATH = f"{os.environ['PATH']}:/usr/sbin"


class CannotStart(Exception):
    """There is no cluster to be had here, and why."""


def install() -> None:
    """Install the packages, where that can be done without asking anybody."""
    if all(shutil.which(p, path=PATH) for p in PROGRAMS):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise CannotStart(f"needs {' '.join(PACKAGES)}, which only root can install with apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        try:
            done = subprocess.run(
                ["apt-get", "-qq", "-o", "Acquire::Retries=1", *command],
                capture_output=True, text=True, env=environment, timeout=240,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise CannotStart(f"apt-get {command[0]} took too long") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["apt-get failed"])[-1]
            raise CannotStart(f"apt-get {command[0]}: {last}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Cluster:
    """A running cluster.

    Parameters
    ----------
    folder : Path
        Its own, with an absolute path of less than 60 letters (it holds a socket).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def start(self, cpus: int = 8, gpus: int = 2, memory_mb: int = 16_000) -> None:
        """Start everything; a second call changes nothing."""
        if os.geteuid() != 0:
            raise CannotStart("needs root")
        install()
        for name in ("run", "log", "state", "spool", "dev"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            (self.folder / name).chmod(0o755)
        self.folder.chmod(0o755)
        if CONFIGURATION.is_symlink() and not CONFIGURATION.exists():
            CONFIGURATION.unlink()
        for name in ("slurm.conf", "gres.conf"):
            link = CONFIGURATION / name
            if link.is_symlink() and not link.exists():
                link.unlink()  # of a cluster that was not stopped
            if link.exists() and (not link.is_symlink() or link.resolve().parent != self.folder):
                raise CannotStart(f"{link} is there: this machine has a SLURM of its own")
        self._munge()
        self._configure(cpus, gpus, memory_mb)
        self._daemon("slurmctld", ["-D"])
        self._until("scontrol ping", lambda text: "is UP" in text)
        self._daemon("slurmd", ["-D", "-N", self.host])
        self._until("sinfo --noheader --format=%T --partition=gpu", lambda text: text.strip() == "idle")

    @property
    def host(self) -> str:
        return socket.gethostname().split(".")[0]

    def stop(self) -> None:
        """End jobs and daemons."""
        if self._pid("slurmctld"):
            self._call("scancel --user=root")
            deadline = time.monotonic() + 15
            while self._call("squeue --noheader") and time.monotonic() < deadline:
                time.sleep(0.2)
        for name in ("slurmd", "slurmctld", "munged"):
            pid = self._pid(name)
            if pid:
                os.kill(pid, signal.SIGTERM)
                deadline = time.monotonic() + 10
                while self._pid(name) and time.monotonic() < deadline:
                    time.sleep(0.1)
                if self._pid(name):
                    os.kill(pid, signal.SIGKILL)
            (self.folder / "run" / f"{name}.pid").unlink(missing_ok=True)
        for name in ("slurm.conf", "gres.conf"):
            link = CONFIGURATION / name
            if link.is_symlink() and link.resolve().parent == self.folder:
                link.unlink()

    def _munge(self) -> None:
        key = self.folder / "munge.key"
        if not key.exists():
            key.write_bytes(os.urandom(128))
            key.chmod(0o400)
        run = self.folder / "run"
        self._daemon(
            "munged",
            ["--foreground", f"--key-file={key}", f"--socket={run}/munge.socket", f"--pid-file={run}/munged.own.pid",
             f"--log-file={self.folder}/log/munged.log", f"--seed-file={self.folder}/state/munge.seed"],
        )  # fmt: skip
        self._until(f"munge --no-input --socket={run}/munge.socket", lambda text: text.startswith("MUNGE:"))

    def _configure(self, cpus: int, gpus: int, memory_mb: int) -> None:
        folder, host = self.folder, self.host
        for k in range(gpus):
            device = folder / "dev" / f"gpu{k}"
            if not (device.exists() and stat.S_ISCHR(device.stat().st_mode)):
                try:
                    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # as /dev/null
                except OSError as problem:
                    raise CannotStart(f"cannot make a device: {problem.strerror}") from None
        ports = _free_ports(2)
        settings = {
            "ClusterName": "bnonly",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": ports[0],
            "SlurmdPort": ports[1],
            "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={folder}/run/munge.socket",
            "CredType": "cred/munge",
            "StateSaveLocation": folder / "state",
            "SlurmdSpoolDir": folder / "spool",
            "SlurmctldPidFile": folder / "run/slurmctld.own.pid",
            "SlurmdPidFile": folder / "run/slurmd.own.pid",
            "SlurmctldLogFile": folder / "log/slurmctld.log",
            "SlurmdLogFile": folder / "log/slurmd.log",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SwitchType": "switch/none",
            "MpiDefault": "none",
            "ReturnToService": 2,
            "SlurmdParameters": "config_overrides",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_CPU_Memory",
            "SchedulerType": "sched/backfill",
            "SchedulerParameters": "batch_sched_delay=0,sched_interval=2,bf_interval=2",
            "KillWait": 10,
            "MinJobAge": 300,
            "GresTypes": "gpu",
            "AccountingStorageType": "accounting_storage/none",
            "JobAcctGatherType": "jobacct_gather/none",
        }
        lines = [f"{k}={v}" for k, v in settings.items()] + [
            f"NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:fake:{gpus} State=UNKNOWN",
            f"PartitionName=gpu Nodes={host} Default=YES MaxTime=1-00:00:00 DefMemPerCPU=500 State=UP",
            f"PartitionName=cpu Nodes={host} Default=NO MaxTime=60 DefMemPerCPU=500 State=UP",
        ]
        (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        gres = f"AutoDetect=off\nNodeName={host} Name=gpu Type=fake File={folder}/dev/gpu[0-{gpus - 1}]\n"
        (folder / "gres.conf").write_text(gres)
        CONFIGURATION.mkdir(parents=True, exist_ok=True)
        for name in ("slurm.conf", "gres.conf"):
            link = CONFIGURATION / name
            if not link.exists():
                link.symlink_to(folder / name)

    def _daemon(self, name: str, arguments: list[str]) -> None:
        if self._pid(name):
            return
        with open(self.folder / "log" / f"{name}.out", "a") as out:
            process = subprocess.Popen(
                [str(shutil.which(name, path=PATH)), *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd="/",
            )  # fmt: skip
        (self.folder / "run" / f"{name}.pid").write_text(str(process.pid))

    def _pid(self, name: str) -> int | None:
        """Return the process number of a daemon of ours that lives."""
        try:
            pid = int((self.folder / "run" / f"{name}.pid").read_text())
            state, exe = (
                Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0],
                os.readlink(f"/proc/{pid}/exe"),
            )
        except (OSError, ValueError):
            return None
        return pid if state != "Z" and name in Path(exe).name else None

    def _call(self, command: str) -> str:
        done = subprocess.run(command.split(), capture_output=True, text=True, timeout=30)
        return done.stdout if done.returncode == 0 else ""

    def _until(self, command: str, good) -> None:
        deadline = time.monotonic() + 30
        while not good(self._call(command)):
            if time.monotonic() > deadline:
                logs = [p for p in (self.folder / "log").iterdir() if p.stat().st_size]
                last = " | ".join(p.read_text().strip().splitlines()[-1] for p in logs)
                self.stop()
                raise CannotStart(f"'{command}' does not answer ({last})")
            time.sleep(0.2)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("up", "down"):
        sys.exit(__doc__)
    lab = Cluster(Path(sys.argv[2]))
    try:
        lab.start() if sys.argv[1] == "up" else lab.stop()
    except CannotStart as problem:
        sys.exit(f"error: {problem}")
