"""The places that name a software version agree with one another."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
ENVS = ROOT / "envs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SUPPORTED = SpecifierSet(PROJECT["project"]["requires-python"])
CONDA = yaml.safe_load((ENVS / "bnonly.yaml").read_text())

#: conda-forge's names that differ from the Python ones.
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
#: What the rules import; the rest of the lock runs the workflow, or checks it.
RULE_PACKAGES = {
    "jinja2",
    "matplotlib",
    "numba",
    "numpy",
    "pandas",
    "pillow",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "scikit-learn",
    "scipy",
    "torch",
    "torchvision",
}


def read_lock(name: str) -> dict[str, str]:
    """Version of every package of a lock; a package is there once, whatever the Python."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (ENVS / name).read_text(), re.MULTILINE)
    versions = {canonicalize_name(package): version for package, version in found}
    assert len(versions) == len(found)
    return versions


LOCK = read_lock("requirements.txt")


def conda_pins() -> dict[str, str]:
    pins = dict(entry.split("=") for entry in CONDA["dependencies"])
    return {CONDA_NAMES.get(name, name): version for name, version in pins.items()}


def project_requirements() -> list[str]:
    project = PROJECT["project"]
    return project["dependencies"] + project["optional-dependencies"]["dev"]


def test_conda_environment_has_the_locked_versions():
    pins = conda_pins()
    del pins["python"]
    assert pins == {name: LOCK[name] for name in RULE_PACKAGES}


def test_conda_environment_has_a_supported_python_and_no_default_channel():
    assert conda_pins()["python"] in SUPPORTED
    assert CONDA["channels"] == ["conda-forge", "nodefaults"]


@pytest.mark.parametrize("line", project_requirements())
def test_lock_satisfies_the_project(line):
    requirement = Requirement(line)
    assert LOCK[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("name", ["requirements", "bootstrap"])
def test_lock_keeps_what_its_input_pins(name):
    lock = read_lock(f"{name}.txt")
    lines = (ENVS / f"{name}.in").read_text().splitlines()
    for requirement in (Requirement(line) for line in lines if not line.startswith("#")):
        assert lock[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("name", ["requirements.txt", "bootstrap.txt"])
def test_lock_has_a_hash_for_every_package_and_no_address(name):
    text = (ENVS / name).read_text()
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(read_lock(name))
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    assert "--index-url" not in text


def test_build_tools_are_locked():
    for requirement in map(Requirement, PROJECT["build-system"]["requires"]):
        assert LOCK[canonicalize_name(requirement.name)] in requirement.specifier


def test_continuous_integration_covers_the_supported_pythons():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    tested = workflow["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert tested == [f"3.{minor}" for minor in range(30) if f"3.{minor}" in SUPPORTED]


def test_data_files_are_packaged():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    package = ROOT / "src" / "bnonly"
    left_out = [
        str(path.relative_to(package))
        for path in package.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.suffix != ".py"
        and not any(fnmatch(path.name, pattern) for pattern in patterns)
    ]
    assert left_out == []


def test_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == PROJECT["project"]["version"]
    assert citation["license"] == PROJECT["project"]["license"]
