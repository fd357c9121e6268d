"""The paper's configuration with few networks, resolved once."""

import pytest
from tests.verdicts.made_up import config

from bnonly.grid.resolve import Grid, resolve


@pytest.fixture(scope="session")
def grid() -> Grid:
    return resolve(config())
