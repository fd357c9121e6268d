"""Data sets for the tests: small ones, made here, and the real ones where they are."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from tests.data import sets

from bnonly.data.prepare import prepare


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BNONLY_SOURCES", raising=False)
    monkeypatch.delenv("BNONLY_SCRATCH", raising=False)
    sets.resize_known(monkeypatch)


@pytest.fixture(scope="session")
def shared(root: Path) -> Path:
    path = root.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"{path} is not there: real images for tests")
    return path


@pytest.fixture(scope="session")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real images, prepared."""
    data = tmp_path_factory.mktemp("data")
    prepare("cifar10-jpeg", shared / "cifar10-jpeg", data, quiet=True)
    prepare("imagenette10", shared / "imagenette10.tar", data, quiet=True)
    return data


@pytest.fixture
def unprivileged():
    """A folder that anyone may read; the test itself runs as a user whom permissions bind."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    shutil.rmtree(folder)
