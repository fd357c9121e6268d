"""The data of the cells."""

import pytest
from tests.engines.cells import CPU, RECIPE, ROOT

from bnonly.data import open_source


@pytest.fixture(scope="module")
def source():
    return open_source(RECIPE, ROOT, CPU)
