"""A cluster for each of pytest's workers that needs one; its nodes are namespaces, so that they do not see each other."""

import shutil
import tempfile
from pathlib import Path

import pytest
from tests.slurm.cluster import CannotStart, Cluster


@pytest.fixture(scope="session")
def cluster():
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        with Cluster(folder) as found:
            yield found
    except CannotStart as why:
        pytest.skip(f"no SLURM to be had here: {why}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
