"""Train one cell on several GPUs of a node: one process per GPU, started by torch's launcher."""

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

from bnonly import paths
from bnonly.engines.devices import choose_device
from bnonly.engines.team import Joined
from bnonly.errors import UserError
from bnonly.grid.cell import parse_cell
from bnonly.results import atomic
from bnonly.results.lock import Held, owner_of
from bnonly.train.loop import train_share
from bnonly.train.options import Options
from bnonly.train.reservation import Reservation
from bnonly.train.stop import Stopped, stopping


def launch(reservation: Reservation, options: Options, device: torch.device) -> None:
    """Train a cell with `recipe.gpus` processes and wait for them.

    Parameters
    ----------
    reservation : Reservation
        The cell and its folder.
    options : Options
        Options of the train command.
    device : torch.device
        Whether the processes compute on GPUs or share the CPU.

    Raises
    ------
    UserError
        With the message of the first process that failed.
    Stopped
        If a signal asked the training to stop.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    cell, gpus = reservation.cell, reservation.cell.recipe.gpus
    if device.type == "cuda" and torch.cuda.device_count() < gpus:
        raise UserError(
            f"{cell}: recipe.gpus is {gpus}, but {torch.cuda.device_count()} can be used on this machine; "
            f"use a machine with {gpus}, or change gpus"
        )
    # The single line below replaces torch's log; the second logger has a level of its own.
    for logger in ("torch.distributed", "torch.distributed.elastic.agent.server.api"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    # The launcher forwards these signals to its processes, which write a checkpoint as a single process does.
    old = {s: signal.getsignal(s) for s in stopping()}
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = ",".join(s.name for s in old)
    # Seconds before the launcher kills them.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "150")
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    with tempfile.TemporaryDirectory() as folder:
        messages = Path(folder)
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
        number = 0
        try:
            task = _task(reservation, options, device, messages)
            elastic_launch(config, sys.executable)("-m", "bnonly.train.launch", task)
        except SignalException as stop:
            number = int(stop.sigval)
        except ChildFailedError as problem:
            message = _message(messages)
            if "stopped" not in message:
                error = (
                    message.get("error")
                    or f"{cell}: one of {gpus} processes ended: {problem.get_first_failure()[1].message}"
                )
                raise UserError(" ".join(str(error).split())) from None
            number = int(message["stopped"])
        finally:
            for which, handler in old.items():
                signal.signal(which, handler)
        message = _message(messages)
        if number and "stopped" not in message:
            raise UserError(
                f"{cell}: ended by signal {number} before it could write a checkpoint; "
                "the same command continues from the last one"
            )
        if number:
            raise Stopped(number, str(message["where"]))


def _task(reservation: Reservation, options: Options, device: torch.device, messages: Path) -> str:
    """Return the argument for a process, as JSON."""
    return json.dumps(
        {
            "cell": reservation.cell.canonical(),
            "folder": str(reservation.folder),
            "results": str(reservation.results),
            "token": reservation.token,
            "launcher": os.getpid(),
            "typed_in": os.path.abspath(paths.typed("")),
            "messages": str(messages),
            "options": {
                "data": str(options.data),
                "device": device.type,
                "threads": options.threads,
                "quiet": options.quiet,
                "checkpoint_seconds": options.checkpoint_seconds,
            },
        }
    )


def _message(folder: Path) -> dict[str, Any]:
    """Return the message of the first process, or of another if it left none."""
    for path in sorted(folder.glob("rank*.json")):
        try:
            found: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        return found
    return {}


def main() -> int:
    """Train the share of one process; leave a message for the launcher if training stops or fails."""
    task = json.loads(sys.argv[1])
    cell, folder = parse_cell(task["cell"]), Path(task["folder"])
    options = Options(**{**task["options"], "data": Path(task["options"]["data"])})
    rank = int(os.environ["LOCAL_RANK"])
    paths.enter(Path(), Path(task["typed_in"]))  # messages name files as the launcher's do

    def leave(message: dict[str, Any], status: int) -> int:
        atomic.replace(Path(task["messages"]) / f"rank{rank:03d}.json", json.dumps(message).encode())
        return status

    def check() -> None:
        """Check that the launcher is alive and still holds the lock."""
        owner = owner_of(folder)
        if os.getppid() != task["launcher"] or owner is None or owner.token != task["token"]:
            raise Held(f"{paths.shown(folder)}: the process that started the training of {cell} no longer holds it")

    reservation = Reservation(cell, folder, Path(task["results"]), task["token"], check)
    try:
        device = choose_device(options.device)
        if device.type == "cuda":
            device = torch.device("cuda", rank)
            torch.cuda.set_device(device)
        team = Joined(device)
        train_share(reservation, options, device, team)
    except Stopped as stop:
        return leave({"stopped": stop.number, "where": str(stop)}, 128 + stop.number)
    except UserError as problem:
        return leave({"error": str(problem)}, 2)
    team.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main())
