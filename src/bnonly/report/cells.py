"""The trained networks: accuracy, failures, stored bytes and provenance."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnonly import paths
from bnonly.console import duration, listed, size
from bnonly.grid.cell import Key
from bnonly.grid.resolve import Grid
from bnonly.report.curves import Curve
from bnonly.report.spending import device_seconds
from bnonly.results import failure
from bnonly.verdicts.measure import Measurements

#: Regimes whose stored weights are compared (Section 6), with their names in the table.
STORED = {"all": "Everything", "bn": "BatchNorm", "bn_out": "BatchNorm + Output"}


def rows(grid: Grid, measured: Measurements, curves: Mapping[tuple[str, str], Curve]) -> list[dict[str, Any]]:
    """Return each network under each regime: its runs, accuracy, time, state, files and learning curve."""
    groups: dict[tuple[str, str], list[Key]] = defaultdict(list)
    for key in grid.cells:
        groups[key[:2]].append(key)
    return [_row(grid, measured, keys, curves.get(pair)) for pair, keys in groups.items()]


def _row(grid: Grid, measured: Measurements, keys: Sequence[Key], curve: Curve | None) -> dict[str, Any]:
    architecture, regime, _ = keys[0]
    done = [k for k in keys if k in measured.labels]
    top1 = [float(measured.value("top1", k, 0.0, (0.0, 0.0))) for k in done]
    finite = [v for v in top1 if math.isfinite(v)]
    labels = [measured.labels[k] for k in done]
    diverged = sum(v["status"] == "diverged" for v in labels)
    state = "done" if len(done) == len(keys) else "partly" if done else "missing"
    return {
        "anchor": f"cell-{architecture}-{regime}",
        "name": f"{architecture}/{regime}",
        "label": grid.regime_labels[regime],
        "runs": f"{len(done)}/{len(keys)}",
        "top1": f"{statistics.fmean(finite):.2f}" if finite else "",
        "sd": f"{statistics.stdev(finite):.2f}" if len(finite) > 1 else "",
        "time": duration(sum(map(device_seconds, labels))) if labels else "",
        "state": f"{state}, {diverged} diverged" if diverged else state,
        "files": [(k[2], f"{k.folder}/") for k in done],
        "curve": curve,
    }


def stored(grid: Grid, root: Path) -> dict[str, Any]:
    """Return a table of the bytes stored per network and regime (Section 6): weights, buffers and the seed of the rest."""
    networks: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for key in grid.cells:
        path = root / paths.weights(key.folder)
        if key.regime in STORED and path.is_file():
            networks[key.architecture][key.regime].append(path.stat().st_size)
    rows = []
    for architecture, by_regime in networks.items():
        mean = {regime: statistics.fmean(sizes) for regime, sizes in by_regime.items()}
        ratio = f"{mean['all'] / mean['bn']:,.1f}" if {"all", "bn"} <= mean.keys() else "–"
        sizes = [size(mean[r]) if r in mean else "–" for r in STORED]
        rows.append([grid.architecture_labels[architecture], *sizes, ratio])
    titles = [(f"{what} trains", True) for what in STORED.values()]
    return {"columns": [("Network", False), *titles, ("Times smaller with BatchNorm", True)], "rows": rows}


def failures(grid: Grid, measured: Measurements, root: Path) -> list[str]:
    """Return a sentence for each run that diverged, failed, or cannot be used."""
    out = [
        f"{key} diverged: {v.get('reason') or 'no reason recorded'}. It counts with the accuracy it had."
        for key, v in measured.labels.items()
        if v["status"] == "diverged"
    ]
    out += [f"{reason}. It is left out." for reason in measured.unusable.values()]
    for key, cell in grid.cells.items():
        known = failure.read(root / key.folder) if key not in measured.labels else None
        if known and known["digest"] == cell.digest():
            often = f" {known['times']} times in a row" if known["times"] > 1 else ""
            out.append(f"{cell} failed{often}: {known['reason']}.")
    return out


def provenance(grid: Grid, measured: Measurements) -> list[tuple[str, str]]:
    """Return code, devices, versions and data behind the results."""
    labels = list(measured.labels.values())
    if not labels:
        return [("Run", grid.title), ("Results", "none")]
    sessions = [s for v in labels for s in v.get("sessions", [v])]
    commits = Counter(map(commit_of, sessions))
    devices = Counter(str(v.get("device_name", "unknown")) for v in labels)
    versions: dict[str, set[str]] = defaultdict(set)
    for session in sessions:
        for name, version in session.get("versions", {}).items():
            versions[name].add(str(version))
    data = {v["data"]["dataset"]: v["data"]["sha256"] for v in labels}
    titles = {e.data.name: e.data.title for e in grid.experiments.values()}
    resumed = sum(bool(v.get("resumed")) for v in labels)
    began, ended = min(v.get("started", "") for v in labels), max(v.get("ended", "") for v in labels)
    return [
        ("Run", grid.title),
        ("Results", f"{len(labels):,} trainings, the first started {moment(began)}, the last ended {moment(ended)}"),
        ("Code", listed(f"{c} ({n:,} starts)" for c, n in commits.most_common(6))),
        ("Devices", listed(f"{d} ({n:,})" for d, n in devices.most_common(8))),
        (
            "Versions",
            ", ".join(f"{n} {' and '.join(sorted(v))}" for n, v in sorted(versions.items())) or "not recorded",
        ),
        ("Data", "; ".join(f"{titles[d]}: SHA-256 {h}" for d, h in sorted(data.items()))),
        ("Interrupted and continued", f"{resumed:,} trainings" if resumed else "none"),
    ]


def moment(text: str) -> str:
    """Return a recorded time for readers."""
    return text.replace("T", " ").partition("+")[0] + " UTC" if text else "at an unknown time"


def commit_of(session: Mapping[str, Any]) -> str:
    """Return the code of a session, or the reason why it is unknown."""
    if commit := session.get("git_commit"):
        return f"{commit[:12]}{' with uncommitted changes' if session.get('git_dirty') else ''}"
    if "source_sha256" in session:
        return f"source {session['source_sha256'][:12]}, no commit ({session['git_unknown']})"
    return "no commit"
