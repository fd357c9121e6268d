"""Damaged command lines, result files and archives end in one line, soon, and in little memory.  ``make fuzz`` runs more."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("kind", ["commands", "files", "archives"])
def test_damaged_input_ends_well(kind):
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.fuzz", "--kind", kind, "--cases", "120"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith(f"{kind}: 120 cases, 0 failed")
