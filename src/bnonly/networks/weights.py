"""The weights file: trained parameters, running statistics and the seed (the paper's idea, Section 6).

Everything else follows from the seed, so a BatchNorm-only ResNet-110 takes tens of kilobytes.  gamma, beta and the running
means and variances are one tensor each, with the layers in the network's order.  One tensor per layer would make the header
more than half as large as the values.  Other trainable tensors have their parameter's name.  `rebuild` restores the full
network and rejects a file that does not match.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from bnonly import paths
from bnonly.errors import UserError
from bnonly.grid.cell import Cell, parse_cell
from bnonly.grid.datasets import Inputs
from bnonly.networks import regimes
from bnonly.results import atomic, parquet

#: Increase this when the files change; older files are rejected.
FORMAT = "bnonly-weights-2"


def save(path: Path, cell: Cell, inputs: Inputs, data_sha256: str, model: nn.Module) -> None:
    """Write a trained network.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file.
    cell : Cell
        Specification; stored in the file.
    inputs : Inputs
        The network's inputs and the names of its outputs; stored in the file.
    data_sha256 : str
        Checksum of the training data.
    model : torch.nn.Module
        From `bnonly.networks.regimes.make`, trained.
    """
    tensors = _tensors(model)
    label = {
        "format": FORMAT,
        "cell": cell.canonical(),
        "digest": cell.digest(),
        "classes": len(inputs.class_names),
        "inputs": dataclasses.asdict(inputs),
        "data_sha256": data_sha256,
        "frozen_sha256": regimes.frozen_checksum(model),
    }
    label["sha256"] = _checksum(tensors, label)
    with atomic.writing(path) as stream:
        # One entry: safetensors does not fix the order of several, and equal runs must give equal files.
        stream.write(to_bytes(tensors, metadata={"bnonly": json.dumps(label, sort_keys=True)}))


def _places(model: nn.Module) -> dict[str, list[torch.Tensor]]:
    """Return the network's tensors behind each tensor of the file, in order, by the name in the file."""
    norms = [m for _, m in regimes.find_batchnorms(model)]
    places: dict[str, list[Any]] = {
        "gamma": [m.weight for m in norms if m.weight.requires_grad],
        "beta": [m.bias for m in norms if m.bias.requires_grad],
        "mean": [m.running_mean for m in norms],
        "variance": [m.running_var for m in norms],
    }
    inside = {id(p) for parts in places.values() for p in parts}
    places |= {n: [p] for n, p in regimes.trainable(model).items() if id(p) not in inside}
    return {n: parts for n, parts in places.items() if parts}


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    # Contiguous, because an engine may use another memory layout.
    return {n: torch.cat([p.detach().cpu().contiguous() for p in parts]) for n, parts in _places(model).items()}


def _checksum(tensors: Mapping[str, torch.Tensor], label: Mapping[str, Any]) -> str:
    total = hashlib.sha256(json.dumps({k: v for k, v in label.items() if k != "sha256"}, sort_keys=True).encode())
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].numpy().tobytes())
    return total.hexdigest()


def load(path: Path, cell: Cell | None = None) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a weights file and check the checksum of its values.

    Parameters
    ----------
    path : Path
        The file.
    cell : Cell, optional
        Expected cell.

    Returns
    -------
    tensors : dict
        gamma and beta (if trainable), mean, variance, and other trainable tensors by their parameter's name.
    label : dict
        digest, cell (a `Cell`), classes (int), inputs (`Inputs`, or None in a file from before they were stored),
        data_sha256, frozen_sha256.

    Raises
    ------
    UserError
        If the file is absent, damaged, foreign, of another version or of another configuration.
    """
    if not path.exists():
        raise UserError(f"{paths.shown(path)}: no such file; train the cell first")
    if not path.is_file():
        raise UserError(f"{paths.shown(path)}: is not a regular file; delete it and train the cell again")
    try:
        with safe_open(path, framework="pt") as stream:
            label: dict[str, Any] = json.loads((stream.metadata() or {}).get("bnonly", "{}"))
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a mapping
    except PermissionError as problem:
        raise UserError(f"{paths.shown(path)}: cannot be read: {problem.strerror}") from None
    except (SafetensorError, OSError, ValueError) as problem:
        raise UserError(
            f"{paths.shown(path)}: damaged or half-written ({problem}); delete it and train the cell again"
        ) from None
    if label.get("format") != FORMAT:
        raise UserError(f"{paths.shown(path)}: {_other_format(label)}")
    if _checksum(tensors, label) != label.get("sha256"):
        raise UserError(f"{paths.shown(path)}: damaged (wrong checksum); delete it and train the cell again")
    parquet.check_cell(path, {"digest": label["digest"], "cell": json.loads(label["cell"])}, None, cell)
    label["cell"] = parse_cell(label["cell"])
    label["inputs"] = Inputs(**label["inputs"]) if "inputs" in label else None
    return tensors, label


def _other_format(label: Mapping[str, Any]) -> str:
    if not {"format", "digest"} <= label.keys():
        return f"is not a weights file of this version ({FORMAT}); delete it and train the cell again"
    # Otherwise the old files would come back from the cache.
    kept = paths.shown(paths.finished(label["digest"]))
    return (
        f"is of format {label['format']!r}, this version reads {FORMAT}; delete it and {kept}, and train the cell again"
    )


def rebuild(path: Path, cell: Cell | None = None) -> tuple[nn.Module, Cell, dict[str, Any]]:
    """Restore the full network of a weights file.

    Parameters
    ----------
    path : Path
        The file.
    cell : Cell, optional
        Expected cell.

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
        If the file is absent, damaged, foreign or of another configuration, or if this NumPy draws other random weights than
        the original one.
    """
    tensors, label = load(path, cell)
    found: Cell = label["cell"]
    model = regimes.make(found, label["classes"])
    if regimes.frozen_checksum(model) != label["frozen_sha256"]:
        raise UserError(
            f"{paths.shown(path)}: the seed gives other frozen weights on this machine than on the original; use the NumPy (and, for orthogonal "
            f"weights, the kind of CPU) recorded in {paths.shown(path.with_name('metrics.parquet'))}"
        )
    fresh = _tensors(model)
    if {n: (t.shape, t.dtype) for n, t in fresh.items()} != {n: (t.shape, t.dtype) for n, t in tensors.items()}:
        raise UserError(
            f"{paths.shown(path)}: does not hold the tensors of {found}; delete it and train the cell again"
        )
    with torch.no_grad():
        for name, parts in _places(model).items():
            for place, values in zip(parts, tensors[name].split([len(p) for p in parts]), strict=True):
                place.copy_(values)
    return model.eval(), found, label
