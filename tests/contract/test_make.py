"""make's targets stand on what they check, and not on a person's settings."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def make(folder, *arguments, **environment):
    command = ["make", "--no-print-directory", "-f", ROOT / "Makefile", *arguments]
    return subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.mark.parametrize("variable", ["PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"])
def test_pip_installs_into_the_environment_whatever_is_set(variable, tmp_path):
    done = make(tmp_path, "--eval", "show: ; @env", "show", **{variable: "1"})
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("PIP_"))
    assert done.returncode == 0 and found["PIP_USER"] == "0"
    assert not {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"} & set(found)


def test_an_installation_that_pip_conf_sends_elsewhere_is_refused(tmp_path):
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/bootstrap.txt").touch()
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")  # a pip that puts uv in another folder
    python.chmod(0o755)
    done = make(tmp_path, ".venv/bin/uv", f"PYTHON={sys.executable}")
    assert done.returncode != 0 and not (tmp_path / ".venv/bin/uv").exists()
    assert "pip did not install into .venv: pip.conf sets target or prefix" in done.stderr
    assert "make PIP_CONFIG_FILE=/dev/null .venv/bin/uv" in done.stderr


def test_the_installer_is_made_again_where_it_is_not_there():
    """Its target is the program itself: a mark beside it outlived a failed installation."""
    text = (ROOT / "Makefile").read_text()
    assert "$(UV): envs/bootstrap.txt" in text and ".uv:" not in text


def test_links_that_became_text_files_are_named(tmp_path):
    shutil.copytree(ROOT / "workflow/profiles", tmp_path / "workflow/profiles")
    for profile in (tmp_path / "workflow/profiles").glob("[!d]*"):
        (tmp_path / profile.name).symlink_to(profile)
    (tmp_path / "demo").write_text("workflow/profiles/demo")
    done = make(tmp_path, "links")
    assert done.returncode != 0 and done.stderr.startswith("error: 'demo' must be a link to workflow/profiles/demo")
    subprocess.run(["ln", "-sfn", "workflow/profiles/demo", "demo"], cwd=tmp_path, check=True)  # the remedy
    assert make(tmp_path, "links").returncode == 0


def test_every_profile_has_a_link():
    profiles = {p.parent.name for p in (ROOT / "workflow/profiles").glob("*/config.yaml")} - {"default"}
    assert profiles == {p.name for p in ROOT.iterdir() if p.is_symlink() and (p / "config.yaml").exists()}
    assert f"PROFILES := {' '.join(sorted(profiles))}" in (ROOT / "Makefile").read_text()
