"""One cell on several GPUs of a node: a process for each, started by torch's own launcher."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from bnonly.engines.devices import choose_device
from bnonly.engines.team import Joined
from bnonly.errors import UserError
from bnonly.grid.cell import Cell, parse_cell
from bnonly.results import atomic
from bnonly.results.lock import Held, owner_of
from bnonly.train.loop import train_share
from bnonly.train.stop import Stopped


def launch(cell: Cell, arguments: dict[str, Any]) -> None:
    """Train a cell with `cell.recipe.gpus` processes, and wait for them.

    Parameters
    ----------
    cell : Cell
        What to train.
    arguments : dict
        Of `bnonly.train.loop.train_share`, as JSON can hold them.

    Raises
    ------
    UserError
        With the first process's message, if it had one.
    Stopped
        If a signal asked for it.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    gpus = cell.recipe.gpus
    if arguments["device"] == "cuda" and torch.cuda.device_count() < gpus:
        raise UserError(
            f"{cell}: recipe.gpus is {gpus}, and this machine shows {torch.cuda.device_count()}; run it where {gpus} are, "
            "or change gpus"
        )
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # our one line says it
    # The launcher ends its processes on these; as they do a process of its own, they write a checkpoint first.
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGTERM,SIGINT,SIGUSR1"
    # And leaves them time for it, before it kills them.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "150")
    os.environ.setdefault("OMP_NUM_THREADS", str(arguments["threads"]))
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder)
        task = json.dumps({**arguments, "spec": cell.canonical(), "said": folder, "launcher": os.getpid()})
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=gpus,
            run_id="bnonly",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            monitor_interval=0.2,
        )
        old = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
        number = 0
        try:
            elastic_launch(config, sys.executable)("-m", "bnonly.train.launch", task)
        except SignalException as stop:
            number = int(stop.sigval)
        except ChildFailedError as problem:
            content = _said(said)
            if "stopped" not in content:
                message = (
                    content.get("error")
                    or f"{cell}: a process of {gpus} ended: {problem.get_first_failure()[1].message}"
                )
                raise UserError(" ".join(str(message).split())) from None
            number = int(content["stopped"])
        finally:
            for which, handler in old.items():
                signal.signal(which, handler)
        content = _said(said)
        if number and "stopped" not in content:
            raise UserError(
                f"{cell}: was ended by signal {number} before it could write a checkpoint; it goes on from the last"
            )
        if number:
            raise Stopped(number, str(content["where"]))


def _said(folder: Path) -> dict[str, Any]:
    """Return what a process has left: the first one's word, or else any."""
    for path in sorted(folder.glob("rank*.json")):
        try:
            found: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        return found
    return {}


def main() -> int:
    """Train one process's share; what there is to say is left for the launcher."""
    from bnonly.train.stop import Stopped

    task = json.loads(sys.argv[1])
    said = Path(task.pop("said"))
    cell = parse_cell(task.pop("spec"))
    device = choose_device(task.pop("device"))
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    team = Joined(device)
    folder, made, data = (Path(task.pop(key)) for key in ("folder", "made", "data"))
    token, launcher = task.pop("token"), task.pop("launcher")

    def leave(content: dict[str, Any], status: int) -> int:
        atomic.replace(said / f"rank{team.rank:03d}.json", json.dumps(content).encode())
        return status

    def check() -> None:
        """Make sure that the launcher, which holds the folder, lives and still does."""
        owner = owner_of(folder)
        if os.getppid() != launcher or owner is None or owner.token != token:
            raise Held(f"{folder}: {cell} is no longer held by the process that began it; another may train it")

    try:
        train_share(cell, folder, made, data, device, team, check=check, **task)
    except Stopped as stop:
        return leave({"stopped": stop.number, "where": str(stop)}, 128 + stop.number)
    except UserError as problem:
        return leave({"error": str(problem)}, 2)
    team.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main())
