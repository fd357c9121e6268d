"""Completion in a shell, as the shell asks for it."""

import shutil
import subprocess

import pytest

from bnonly.commands import cli

#: What bash does at the tab key, with the words typed so far as arguments.
ASK = """
eval "$SCRIPT"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
$(complete -p bnonly | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(capsys, tmp_path):
    if not shutil.which("bash"):
        pytest.skip("no bash on this machine")
    assert cli.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.yaml").touch()

    def ask(*words):
        command = ["bash", "-c", ASK, "bash", "bnonly", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "SCRIPT": script}, capture_output=True, text=True
        )
        assert done.returncode == 0 and not done.stderr
        return done.stdout.split()

    return ask


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["co"], {"cost", "compare", "completion"}),
        (["completion", ""], {"bash", "zsh"}),
        (["plot", "--"], {"--help", "--output"}),
        (["--config", "f"], {"file.yaml"}),
        (["-C", "f"], {"folder"}),
    ],
)
def test_a_word_is_completed(complete, typed, offered):
    assert offered <= set(complete(*typed)) and len(complete(*typed)) <= len(offered) + 1


def test_what_the_help_leaves_out_is_not_offered(complete):
    commands = complete("")
    assert "train" in commands and not {"batch", "collect", "counts", "manifest"} & set(commands)
    options = complete("train", "--")
    assert "--seed" in options and "--spec" not in options


def test_zsh_has_a_script_of_its_own(capsys):
    assert cli.main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef bnonly")


def test_another_shell_is_refused(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["completion", "fish"])
    assert done.value.code == 2 and "invalid choice: 'fish'" in capsys.readouterr().err
