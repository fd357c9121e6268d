"""The notebook of the documentation: its code runs from top to bottom, and it is stored without outputs."""

import json

import matplotlib
import pytest


@pytest.fixture(scope="module")
def cells(root):
    found = json.loads((root / "docs/notebook.ipynb").read_text())["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def test_it_draws_a_figure_and_classifies_images(cells, run, tmp_path, monkeypatch):
    for name in ("docs", "runs"):
        (tmp_path / name).mkdir()
    (tmp_path / "runs/demo").symlink_to(run)
    monkeypatch.chdir(tmp_path / "docs")  # where Jupyter runs it
    with matplotlib.rc_context({"backend": "agg"}):
        names: dict = {}
        for cell in cells:
            exec("".join(cell["source"]), names)
    assert len(names["epochs"]) == 6 and list(names["points"]["regime"]) == ["all", "bn"]
    assert len(names["answers"]) == len(names["images"]) == 8
    assert {name for name, _ in names["answers"]} <= set("0123456789")
    assert [ax.get_title()[0] for ax in names["axes"]] == [name for name, _ in names["answers"]]


def test_it_is_stored_without_outputs(cells):
    assert cells and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
