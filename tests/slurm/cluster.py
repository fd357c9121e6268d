"""A cluster for tests on one machine: a login node, three GPU nodes and a CPU node, accounting, ordinary users, limits that are enforced.

    python tests/slurm/cluster.py [COMMAND ...]     run a command (a shell) on the login node; the cluster ends with it

Each node has an address, a host name, a process table and mounts of its own (Linux namespaces), so that it can be lost whole, and nothing
is visible on the machine itself.  All are processes of one namespace, whose first process ends with this one.  Needs root, because
GPUs are devices and SLURM changes users.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PACKAGES = ("slurm-wlm", "slurmdbd", "munge", "mariadb-server", "iproute2")
PROGRAMS = (
    "munged",
    "slurmctld",
    "slurmd",
    "slurmdbd",
    "mariadbd",
    "sbatch",
    "squeue",
    "ip",
    "nsenter",
    "unshare",
    "setpriv",
)
PATH = f"{os.environ['PATH']}:/usr/sbin"
ROOT = Path(__file__).parents[2]

LOGIN = "login"
#: Address, GPUs of each node.
NODES = {
    "g1": ("10.77.0.11", "fake:2"),
    "g2": ("10.77.0.12", "fake:2"),
    "g3": ("10.77.0.13", "nvidia_a100-sxm4-80gb:2"),
    "c1": ("10.77.0.21", ""),
}
USERS = {"alice": 20001, "bob": 20002}
PARTITIONS = (
    "PartitionName=gpu Nodes=g1,g2,g3 Default=YES MaxTime=1-00:00:00 DefMemPerCPU=500 PriorityTier=5 PreemptMode=OFF",
    "PartitionName=urgent Nodes=g1,g2,g3 MaxTime=1-00:00:00 DefMemPerCPU=500 PriorityTier=9 PreemptMode=OFF",
    "PartitionName=spare Nodes=g1,g2,g3 MaxTime=1-00:00:00 DefMemPerCPU=500 PriorityTier=1 PreemptMode=CANCEL",
    "PartitionName=cpu Nodes=c1 MaxTime=60 DefMemPerCPU=500",
)


class CannotStart(Exception):
    """There is no cluster to be had here, and why."""


def install() -> None:
    """Install the packages, where that can be done without asking anybody."""
    if all(shutil.which(p, path=PATH) for p in PROGRAMS):
        return
    if not shutil.which("apt-get"):
        raise CannotStart(f"needs {' '.join(PACKAGES)}")
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


class Cluster:
    """A running cluster; a context manager.

    Parameters
    ----------
    folder : Path
        Its own, with an absolute path of less than 60 letters (it holds sockets).  All nodes and users see it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._daemons: dict[str, subprocess.Popen] = {}
        self._first: int = 0

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException as problem:
            self.stop()
            if isinstance(problem, subprocess.CalledProcessError):
                problem.add_note(f"{problem.stdout}\n{problem.stderr}")
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def home(self, user: str) -> Path:
        """Return the home folder of a user, on all nodes."""
        return self.folder / "home" / user

    @property
    def scratch(self) -> Path:
        """A file system of its own, in memory, which all nodes see and this machine does not."""
        return self.folder / "scratch"

    def resize(self, size: str) -> None:
        """Make the scratch file system larger or smaller; "" leaves no space at all."""
        used = f"$(df -k --output=used {self.scratch} | tail -n 1 | tr -d ' ')k"
        remount = f"mount -o remount,size={size or used} {self.scratch}"
        self.run("sh", "-c", f"until {remount} 2> /dev/null; do sleep 0.1; done")  # jobs write meanwhile

    def command(self, arguments: Sequence[str | Path], user: str = "root", node: str = LOGIN) -> list[str]:
        """Return the command that runs a command as a user on a node; its process group ends with it."""
        target = self._first if node == LOGIN else _child(self._daemons[node].pid, 2)
        found = ["nsenter", f"--target={target}", "--net", "--mount", "--uts", "--pid", "--wd=."]
        if user != "root":
            found += ["setpriv", f"--reuid={USERS[user]}", f"--regid={USERS[user]}", "--clear-groups"]
            found += ["env", f"HOME={self.home(user)}", f"USER={user}", f"LOGNAME={user}"]
        return [*found, *map(str, arguments)]

    def run(self, *arguments: str, user: str = "root", node: str = LOGIN, timeout: float = 60) -> str:
        """Return what a command prints on a node.

        Raises
        ------
        subprocess.CalledProcessError
            If it fails.
        """
        return subprocess.run(
            self.command(arguments, user, node), capture_output=True, text=True, timeout=timeout, check=True, cwd="/"
        ).stdout

    def stop(self) -> None:
        """End everything."""
        for process in self._daemons.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._daemons.clear()

    def end(self, name: str) -> None:
        """Lose a node with all its processes, or stop a daemon."""
        process = self._daemons.pop(name)
        if name in NODES:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(_child(process.pid), signal.SIGTERM)
        process.wait()

    def begin(self, name: str) -> None:
        """Bring a node or a daemon (slurmctld, slurmdbd) back, and wait until it answers."""
        if name in NODES:
            inside = f"hostname {name}; slurmd -D & wait"
            self._daemon(
                name, ["nsenter", f"--net=/run/netns/{name}", "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", inside]
            )  # fmt: skip
            self._until(
                f"{name} is idle",
                lambda: self.run("sinfo", "-h", "-N", "-n", name, "-o", "%T").split()[0] in ("idle", "mixed"),
            )
        elif name == "slurmdbd":
            self._daemon(name, ["env", f"MYSQL_UNIX_PORT={self.folder}/run/mysql.socket", "slurmdbd", "-D"])
            self._until("accounting", lambda: self.run("sacctmgr", "-n", "list", "qos") != "")
        else:
            self._daemon(name, ["slurmctld", "-D"])
            self._until("the controller", lambda: "is UP" in self.run("scontrol", "ping"))

    def _start(self) -> None:
        if os.geteuid() != 0:
            raise CannotStart("needs root")
        install()
        for name in ("run", "log", "state", "dev", "etc", "mysql", "home", "spool", "scratch"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        for user, number in USERS.items():
            self.home(user).mkdir()
            os.chown(self.home(user), number, number)
        self._devices()
        self._files()
        self._daemon("first", ["setpriv", "--pdeathsig=KILL", "unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc",
                               "bash", "-c", "while :; do sleep 1000 & wait; done"], inside=False)  # fmt: skip
        self._until("namespaces", lambda: _child(self._daemons["first"].pid) != 0)
        self._first = _child(self._daemons["first"].pid)
        etc = self.folder / "etc"
        Path("/etc/slurm").mkdir(exist_ok=True)
        binds = " ".join(f"mount --bind {etc}/{n} /etc/{n};" for n in ("slurm", "passwd", "group", "hosts")) + _opened(
            self.folder
        )
        network = " ".join(
            f"ip netns add {n}; ip link add to-{n} type veth peer name eth0 netns {n}; ip link set to-{n} up; ip route add {a} dev to-{n} src 10.77.0.1; "
            f"ip -n {n} link set lo up; ip -n {n} link set eth0 up; ip -n {n} addr add {a}/32 dev eth0; ip -n {n} route add 10.77.0.1 dev eth0; "
            f"ip -n {n} route add default via 10.77.0.1;"
            for n, (a, _) in NODES.items()
        )
        setup = subprocess.run(
            self.command(["sh", "-ec", f"hostname {LOGIN}; ip link set lo up; ip addr add 10.77.0.1/32 dev lo; echo 1 > /proc/sys/net/ipv4/ip_forward; mount -t tmpfs none /run; mount -t tmpfs -o mode=777,size=2g none {self.scratch}; {network} {binds}"]), capture_output=True, text=True, cwd="/"
        )  # fmt: skip
        if setup.returncode:
            raise CannotStart(f"no namespaces: {setup.stderr.strip()}")
        try:
            self.run("test", "-r", str(ROOT / "config.yaml"), user="alice")
            self.run(sys.executable, "-c", "", user="alice")
        except subprocess.CalledProcessError:
            raise CannotStart(f"ordinary users cannot read {ROOT} or run {sys.executable}") from None
        self._munge()
        self._database()
        self.begin("slurmctld")
        for name in NODES:
            self.begin(name)

    def _devices(self) -> None:
        for node, (_, gpus) in NODES.items():
            for k in range(int(gpus.rpartition(":")[2] or 0)):
                try:
                    os.mknod(
                        self.folder / "dev" / f"{node}-{k}", stat.S_IFCHR | 0o666, os.makedev(1, 3)
                    )  # as /dev/null
                except OSError as problem:
                    raise CannotStart(f"cannot make a device: {problem.strerror}") from None

    def _files(self) -> None:
        folder, etc = self.folder, self.folder / "etc"
        for name in ("passwd", "group"):
            lines = [
                f"{u}:x:{n}:{n}::{self.home(u)}:/bin/bash" if name == "passwd" else f"{u}:x:{n}:"
                for u, n in USERS.items()
            ]
            (etc / name).write_text(Path(f"/etc/{name}").read_text() + "\n".join(lines) + "\n")
        hosts = ["127.0.0.1 localhost", f"10.77.0.1 {LOGIN}", *(f"{a} {n}" for n, (a, _) in NODES.items())]
        (etc / "hosts").write_text("\n".join(hosts) + "\n")
        settings = {
            "ClusterName": "lab",
            "SlurmctldHost": f"{LOGIN}(10.77.0.1)",
            "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={folder}/run/munge.socket",
            "CredType": "cred/munge",
            "StateSaveLocation": folder / "state",
            "SlurmdSpoolDir": f"{folder}/spool/%n",
            "SlurmctldPidFile": folder / "run/slurmctld.pid",
            "SlurmdPidFile": f"{folder}/run/%n.pid",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SwitchType": "switch/none",
            "MpiDefault": "none",
            "ReturnToService": 2,
            "SlurmdParameters": "config_overrides",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_CPU_Memory",
            "SchedulerType": "sched/backfill",
            "SchedulerParameters": "batch_sched_delay=0,sched_interval=1,bf_interval=1",
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "CANCEL",
            "KillWait": 5,
            "MinJobAge": 300,
            "MessageTimeout": 5,
            "GresTypes": "gpu",
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": LOGIN,
            "AccountingStoragePass": folder / "run/munge.socket",
            "AccountingStorageTRES": "gres/gpu",
            "AccountingStorageEnforce": "associations,limits,qos",
            "JobAcctGatherType": "jobacct_gather/linux",
        }
        nodes, gres = [], ["AutoDetect=off"]
        for node, (address, gpus) in NODES.items():
            nodes.append(
                f"NodeName={node} NodeAddr={address} CPUs=8 RealMemory=16000" + (f" Gres=gpu:{gpus}" if gpus else "")
            )
            if gpus:
                kind, _, count = gpus.rpartition(":")
                gres.append(f"NodeName={node} Name=gpu Type={kind} File={folder}/dev/{node}-[0-{int(count) - 1}]")
        (etc / "slurm").mkdir()
        (etc / "slurm/slurm.conf").write_text(
            "\n".join([*(f"{k}={v}" for k, v in settings.items()), *nodes, *PARTITIONS]) + "\n"
        )
        (etc / "slurm/gres.conf").write_text("\n".join(gres) + "\n")
        database = {
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={folder}/run/munge.socket",
            "DbdHost": LOGIN,
            "SlurmUser": "root",
            "PidFile": folder / "run/slurmdbd.pid",
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "localhost",
            "StorageUser": "root",
            "StorageLoc": "slurm",
        }
        path = etc / "slurm/slurmdbd.conf"
        path.write_text("\n".join(f"{k}={v}" for k, v in database.items()) + "\n")
        path.chmod(0o600)

    def _munge(self) -> None:
        key, run = self.folder / "etc/munge.key", self.folder / "run"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self._daemon(
            "munged",
            ["munged", "--foreground", f"--key-file={key}", f"--socket={run}/munge.socket", f"--pid-file={run}/munged.pid",
             f"--log-file={self.folder}/log/munged.own.log", f"--seed-file={self.folder}/state/munge.seed"],
        )  # fmt: skip
        self._until("munge", lambda: (run / "munge.socket").exists())

    def _database(self) -> None:
        data, socket = self.folder / "mysql", self.folder / "run/mysql.socket"
        # Its temporary tables are named by its process's number, which another cluster's database has as well.
        common = ["--no-defaults", "--user=root", f"--datadir={data}", f"--tmpdir={self.folder}/run"]
        self.run(
            "mariadb-install-db", *common, "--auth-root-authentication-method=socket", "--skip-test-db", timeout=120
        )
        self._daemon("mariadbd", ["mariadbd", *common, f"--socket={socket}", "--skip-networking", "--skip-log-bin",
                                  "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0"])  # fmt: skip
        self._until("MariaDB", socket.exists)
        self.begin("slurmdbd")
        for what in ("cluster lab", "account lab", *(f"user {u} account=lab" for u in ("root", *USERS))):
            self.run("sacctmgr", "-i", "add", *what.split())

    def _daemon(self, name: str, arguments: list[str], inside: bool = True) -> None:
        with open(self.folder / "log" / f"{name}.log", "a") as out:
            self._daemons[name] = subprocess.Popen(
                self.command(arguments) if inside else arguments, env={**os.environ, "PATH": PATH},
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd="/",
            )  # fmt: skip

    def _until(self, what: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired, IndexError):
                if is_so():
                    return
            if time.monotonic() > deadline:
                logs = [p for p in (self.folder / "log").iterdir() if p.stat().st_size]
                last = " | ".join(p.read_text(errors="replace").strip().splitlines()[-1] for p in logs)
                raise CannotStart(f"{what}: no answer ({last})")
            time.sleep(0.1)


def _opened(folder: Path) -> str:
    """Return commands that let ordinary users see this repository and its Python where those are in a closed folder, as /root is."""
    seen, shut, back = [], set(), []
    for k, path in enumerate((ROOT, Path(sys.base_prefix))):
        closed = next((p for p in reversed(path.parents) if not p.stat().st_mode & stat.S_IXOTH), None)
        if closed:
            seen.append(f"mkdir {folder}/seen{k}; mount --bind {path} {folder}/seen{k};")
            shut.add(f"mount -t tmpfs -o mode=755 none {closed};")
            back.append(f"mkdir -p {path}; mount --bind {folder}/seen{k} {path};")
    return " ".join(["", *seen, *shut, *back])


def _child(pid: int, generations: int = 1) -> int:
    """Return the number of a process's first child, or of its child's child; 0 if there is none."""
    for _ in range(generations):
        try:
            pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        except (OSError, IndexError):
            return 0
    return pid


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        with Cluster(place) as lab:
            sys.exit(subprocess.run(lab.command(sys.argv[1:] or ["bash"])).returncode)
    except CannotStart as problem:
        sys.exit(f"error: {problem}")
    finally:
        shutil.rmtree(place, ignore_errors=True)
