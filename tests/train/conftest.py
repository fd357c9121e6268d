"""A finished training."""

import pytest
from tests.train.runs import cell_of, train


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    return train(cell_of(), tmp_path_factory.mktemp("finished"))
