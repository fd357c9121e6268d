"""The documentation: every page is on the site, every link leads somewhere, every column has a line."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bnonly.results import parquet

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_every_page_is_in_the_navigation():
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert sorted(listed) == sorted(str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md"))


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed; make install brings it")
def test_the_site_is_built_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").exists()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_the_pages_outside_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert "://" in target or (ROOT / target).exists(), f"{page} links to {target}"


@pytest.mark.parametrize("kind", parquet.SCHEMAS)
def test_every_column_is_described(kind):
    page = (DOCS / "results.md").read_text()
    section = page.split(f"## `{kind}.parquet`")[1].split("\n## ")[0]
    described = {name for row in re.findall(r"^\|(.+?)\|", section, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert described == set(parquet.SCHEMAS[kind].names)


def test_every_key_of_the_configuration_is_described():
    page = (DOCS / "configuration.md").read_text()
    schema = json.loads((ROOT / "config.schema.json").read_text())
    keys = {key for part in (schema, *schema["$defs"].values()) for key in part.get("properties", {})}
    assert keys and not {key for key in keys if f"`{key}`" not in page}
