"""The weights file: what was trained, the running statistics and the seed (the paper's idea, Section 6).

Everything else follows from the seed, so a BatchNorm-only ResNet-110 is some tens of kilobytes.  `rebuild` makes the
full network again and refuses a file that does not fit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from bnonly import regimes, schemas
from bnonly.errors import UserError
from bnonly.spec import Cell, parse

FORMAT = "bnonly-weights-1"


def save(path: Path, cell: Cell, classes: int, data_sha256: str, model: nn.Module) -> None:
    """Write a trained network.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file.
    cell : Cell
        Its specification; goes into the file.
    classes : int
        Outputs of the network.
    data_sha256 : str
        Checksum of the data that it was trained on.
    model : torch.nn.Module
        From `bnonly.regimes.make`, trained.
    """
    tensors = {**regimes.trainable(model), **regimes.buffers(model)}
    tensors = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
    label = {
        "format": FORMAT,
        "cell": cell.canonical(),
        "digest": cell.digest(),
        "classes": classes,
        "data_sha256": data_sha256,
        "frozen_sha256": regimes.frozen_checksum(model),
    }
    label["sha256"] = _checksum(tensors, label)
    with schemas.atomic(path) as stream:
        # One entry: safetensors writes several in an order of its own, and equal runs are to be equal files.
        stream.write(to_bytes(tensors, metadata={"bnonly": json.dumps(label, sort_keys=True)}))


def _checksum(tensors: Mapping[str, torch.Tensor], label: Mapping[str, Any]) -> str:
    total = hashlib.sha256(json.dumps({k: v for k, v in label.items() if k != "sha256"}, sort_keys=True).encode())
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].numpy().tobytes())
    return total.hexdigest()


def load(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a weights file, its values checked against their checksum.

    Returns
    -------
    tensors : dict
        Trained parameters and running statistics by name.
    label : dict
        digest, cell (a `Cell`), classes (int), data_sha256, frozen_sha256.

    Raises
    ------
    UserError
        If the file is absent, damaged or foreign.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; train the cell first")
    try:
        with safe_open(path, framework="pt") as stream:
            label: dict[str, Any] = json.loads((stream.metadata() or {}).get("bnonly", "{}"))
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a mapping
    except PermissionError as problem:
        raise UserError(f"{path}: cannot be read: {problem.strerror}") from None
    except (SafetensorError, OSError, ValueError) as problem:
        raise UserError(f"{path}: damaged or half-written ({problem}); delete it and train the cell again") from None
    if label.get("format") != FORMAT:
        raise UserError(f"{path}: is not a weights file of this version ({FORMAT}); delete it and train the cell again")
    if _checksum(tensors, label) != label.get("sha256"):
        raise UserError(f"{path}: damaged (its values do not have their checksum); delete it and train the cell again")
    label["cell"] = parse(label["cell"])
    return tensors, label


def rebuild(path: Path, cell: Cell | None = None) -> tuple[nn.Module, Cell, dict[str, Any]]:
    """Make the full network of a weights file again.

    Parameters
    ----------
    path : Path
        The file.
    cell : Cell, optional
        What it must be the network of.

    Returns
    -------
    model : torch.nn.Module
        In evaluation mode, on the CPU.
    cell : Cell
        Its specification.
    label : dict
        See `load`.

    Raises
    ------
    UserError
        If the file is absent, damaged, foreign, of another configuration, or if this NumPy draws other random weights than
        the one it was made with.
    """
    tensors, label = load(path)
    found: Cell = label["cell"]
    schemas.check_cell(path, {"digest": label["digest"], "cell": json.loads(found.canonical())}, None, cell)
    model = regimes.make(found, label["classes"])
    if regimes.frozen_checksum(model) != label["frozen_sha256"]:
        raise UserError(
            f"{path}: its seed gives other frozen weights here than where it was made; use the NumPy (and, for orthogonal "
            f"weights, the kind of CPU) recorded in {path.with_name('metrics.parquet')}"
        )
    places = {**regimes.trainable(model), **regimes.buffers(model)}
    if places.keys() != tensors.keys():
        raise UserError(f"{path}: does not hold the tensors of {found}; delete it and train the cell again")
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(tensors[name])
    return model.eval(), found, label
