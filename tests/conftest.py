"""What several folders of tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Two workers on two cores: one thread each, so that timings and sums do not depend on the neighbour.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def bnonly():
    """Run the command line in a process of its own; returns the finished process."""

    def run(*arguments: str | Path, cwd: Path = ROOT, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "bnonly", *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, **options)

    return run
