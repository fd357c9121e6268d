"""The commit that is recorded is that of this source, or it is said why there is none."""

import shutil
import subprocess
from pathlib import Path

import pytest

import bnonly
from bnonly.train import provenance

PACKAGE = Path(bnonly.__file__).parent


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """The source unpacked below another repository, which has a commit of its own."""
    git(tmp_path, "init", "-q")
    (tmp_path / "thesis.tex").write_text("x")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "thesis")
    folder = tmp_path / "src/bnonly"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance.bnonly, "__file__", str(folder / "__init__.py"))
    provenance.code.cache_clear()
    yield tmp_path
    provenance.code.cache_clear()


def test_another_repository_around_the_source_is_not_its_commit(copy):
    found = provenance.code()
    assert found["git_commit"] is None and found["git_dirty"] is None
    assert "not part of the git repository" in found["git_unknown"]
    before = found["source_sha256"]
    (copy / "src/bnonly/paths.py").write_text("# other\n")
    provenance.code.cache_clear()
    assert provenance.code()["source_sha256"] != before


@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"])
def test_a_variable_that_names_another_repository_is_not_followed(copy, monkeypatch, variable):
    git(copy, "add", ".")
    git(copy, "commit", "-q", "-m", "ours")
    commit = git(copy, "rev-parse", "HEAD")
    monkeypatch.setenv(variable, "/nowhere")
    assert provenance.code() == {"git_commit": commit, "git_dirty": False}


@pytest.mark.parametrize("why", ["no git", "another's"])
def test_where_git_does_not_answer_the_reason_is_recorded(copy, monkeypatch, why):
    if why == "no git":
        monkeypatch.setenv("PATH", "/nowhere")
    else:
        real = subprocess.run

        def owned(command, **how):
            return real(command, **{**how, "env": {**how["env"], "GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}})

        monkeypatch.setattr(provenance.subprocess, "run", owned)
    found = provenance.code()
    assert found["git_commit"] is None and len(found["source_sha256"]) == 64
    assert ("git" in found["git_unknown"]) if why == "no git" else ("dubious ownership" in found["git_unknown"])
