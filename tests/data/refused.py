"""Data that are refused: one line that names what is wrong and the remedy, and nothing that looks prepared."""

import pytest
from tests.data import sets
from tests.data.sets import CPU

from bnonly.data import open_source
from bnonly.data.prepare import prepare
from bnonly.errors import UserError

SETS = {
    "cifar10": lambda f, m: sets.parquet(f, "PNG"),
    "cifar10-jpeg": lambda f, m: sets.parquet(f, "JPEG"),
    "imagenet": lambda f, m: sets.folder_set(f),
}


def check_refused(name, source, data, *words, **options):
    """Preparing says one line with all the words, and training finds nothing."""
    with pytest.raises(UserError) as caught:
        prepare(name, source, data, quiet=True, **options)
    check_one_line(caught.value, *words)
    with pytest.raises(UserError):
        open_source(sets.recipe(name), data, CPU)
    assert not list(data.glob("*/manifest.json"))


def check_not_opened(name, data, *words):
    with pytest.raises(UserError) as caught:
        source = open_source(sets.recipe(name), data, CPU)
        list(source.train_batches(0, 0, 4))
        list(source.test_batches(4))
    check_one_line(caught.value, *words)


def check_one_line(problem, *words):
    text = str(problem)
    assert "\n" not in text and len(text) < 700
    for word in map(str, words):
        assert word in text, f"{word!r} is not in {text!r}"
