"""Limits of SLURM's accounting: a job above one is rejected or stays pending for ever (standard library only)."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bnonly.cluster import slurm

_UNITS = {"": 1, "K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}


@dataclass(frozen=True)
class Limits:
    """The limits of an association or of a quality of service.

    Attributes
    ----------
    whose : str
        Name for messages: "account lab", "QOS short".
    submissions : int or None
        Most jobs of the user at a time.
    hours : float
        Longest time limit of a job.
    most : dict
        Most resources of a job, or of all jobs of the user, by SLURM's name: cpu, mem (MB), gres/gpu.
    """

    whose: str
    submissions: int | None
    hours: float
    most: dict[str, float]


def find(account: str, qos: str, partition: str) -> list[Limits]:
    """Return the limits of the user's jobs; none if there is no accounting or it does not answer."""
    found = []
    names = {qos} if qos else set()
    for row in _show(
        "associations", f"user={getpass.getuser()}", "account,partition,defaultqos,maxsubmitjobs,maxwall,maxtres"
    ):
        if (not account or row[0].lower() == account.lower()) and row[1] in ("", partition):
            found.append(_limits(f"account {row[0]}", *row[3:]))
            names |= {row[2]} if not qos else set()
    if partition:  # without a name, scontrol shows all partitions
        said = slurm.call("scontrol", "show", "partition", partition) or ""
        names |= set(re.findall(r"\bQoS=(\S+)", said)) - {"N/A"}
    for row in _show("qos", "", "name,maxsubmitjobsperuser,maxwall,maxtres,maxtrespu"):
        if row[0] in names:
            found.append(_limits(f"QOS {row[0]}", *row[1:]))
    return found


def too_much(limits: list[Limits], asked: Mapping[str, float]) -> Iterator[str]:
    """Yield the reasons why a job with this request would never start."""
    for limit in limits:
        for name, most in limit.most.items():
            if asked.get(name, 0) > most:
                yield f"the job requests {name}={asked[name]:g}, but {limit.whose} allows {most:g}; it would never start"


def seconds(limit: str) -> float:
    """Return a time limit as SLURM writes it: [days-]hours:minutes:seconds, minutes:seconds, infinite."""
    if not limit[:1].isdigit():
        return float("inf")
    days, _, rest = limit.rpartition("-")
    total = 0
    for part in rest.split(":"):
        total = total * 60 + int(part)
    return int(days or 0) * 86_400 + total


def _show(what: str, which: str, form: str) -> Iterator[list[str]]:
    text = slurm.call(
        "sacctmgr", "--noheader", "--parsable2", "show", what, *([which] if which else []), f"format={form}"
    )
    return (line.split("|") for line in (text or "").splitlines())


def _limits(whose: str, submissions: str, wall: str, *resources: str) -> Limits:
    most: dict[str, float] = {}
    for name, value, unit in re.findall(r"([\w/]+)=(\d+)([KMGT]?)", ",".join(resources)):
        most[name] = min(most.get(name, float("inf")), int(value) * (_UNITS[unit] if name == "mem" else 1))
    return Limits(whose, int(submissions) if submissions.isdigit() else None, seconds(wall) / 3600, most)
