"""What a profile says of the configuration is read as Snakemake reads it."""

import json
import shlex
from pathlib import Path

import pytest
import yaml
from snakemake import cli as snakemake
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config
from tests.mini import mini, write

from bnonly import paths
from bnonly.commands import cli
from bnonly.config.layers import merge
from bnonly.config.profile import command_line
from bnonly.grid.resolve import resolve

OVER = {"recipes": {"digits": {"lr": 0.3}}}
OTHER = {"recipes": {"digits": {"lr": 0.4}}}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a configuration, two files to lay over it, and no profile of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    write(tmp_path, mini())
    (tmp_path / "p").mkdir()
    for name, content in (("p/over.yaml", OVER), ("other.yaml", OTHER)):
        Path(name).write_text(yaml.safe_dump(content))
    Path("Snakefile").touch()
    return tmp_path


def digests(capsys, *arguments):
    """Digests of the cells that bnonly lists."""
    assert cli.main([*arguments, "cells"]) == 0, capsys.readouterr().err
    return {line.split()[0] for line in capsys.readouterr().out.splitlines()}


def of_snakemake(*arguments):
    """Digests of the cells that the workflow would make of the same options."""
    _, args = snakemake.parse_args([*arguments, "--cores", "1"])
    config = {}
    for file in args.configfile:
        update_config(config, load_configfile(file))
    update_config(config, snakemake.parse_config(args.config))
    return {c.digest() for c in resolve(merge(mini(), command_line(config))).cells.values()}


@pytest.mark.parametrize(
    ("file", "content", "given"),
    [
        ("config.yaml", {"config": {"scale": 100}}, ()),
        ("config.yaml", {"config": ["scale=3"]}, ()),
        ("config.yaml", {"config": {"recipes": {"digits": {"lr": 0.5, "batch_size": "64"}}}}, ()),
        ("config.yaml", {"configfiles": "over.yaml"}, ()),
        ("config.yaml", {"configfile": ["p/over.yaml", "other.yaml"]}, ()),
        ("config.yaml", {"configfile": "other.yaml"}, ()),
        ("profile.yaml", {"configfile": "over.yaml"}, ()),
        ("profile.v9+.yaml", {"configfile": "over.yaml"}, ()),
        ("config.yaml", {"configfile": "over.yaml"}, ("--configfile", "other.yaml")),
        ("config.yaml", {"configfile": "over.yaml", "config": {"scale": 2}}, ("--configfile", "other.yaml")),
    ],
)
def test_bnonly_reads_what_snakemake_reads(file, content, given, place, capsys):
    (place / "p" / file).write_text(yaml.safe_dump(content))
    found = digests(capsys, "--profile", "p", *given)
    assert found == of_snakemake("--profile", "p", *given)
    assert found != {c.digest() for c in resolve(mini()).cells.values()}


def test_the_workflow_profile_and_the_environments_profile_count(place, capsys, monkeypatch):
    (place / "profiles/default").mkdir(parents=True)
    (place / "profiles/default/config.yaml").write_text("config: {scale: 2}\n")
    (place / "p/config.yaml").write_text("configfile: over.yaml\nconfig: {scale: 3}\n")
    assert digests(capsys) == of_snakemake()
    with_profile = digests(capsys, "--profile", "p")
    assert with_profile == of_snakemake("--profile", "p")
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "p")
    assert digests(capsys) == with_profile


@pytest.mark.parametrize(
    "given",
    [
        ("scale=100",),
        ("recipes.digits.lr=2e-1", "recipes.digits.milestones=[1.5]"),
        ("recipes={digits: {lr: 0.2}}", "recipes.digits.augmentation.flip=true"),
        ("architectures.ResNet-14-c4=null", "experiments.cifar-depth.architectures=[ResNet-8-c4]"),
    ],
)
def test_a_command_that_is_suggested_has_what_was_set(given, place, capsys):
    options = [word for text in given for word in ("--set", text)]
    assert cli.main([*options, "figure", "fig05"]) == 2
    command = shlex.split(capsys.readouterr().err.rpartition("draw it: ")[2])
    assert command[0] == "snakemake" and command[-2:] == ["--", "fig05"]
    assert of_snakemake(*command[1:]) == digests(capsys, *options) != digests(capsys)


def test_a_command_that_is_suggested_finds_the_clone_and_the_data(place, capsys, monkeypatch):
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    assert cli.main(["--config", "../config.yaml", "--data", "my data", "-C", ".", "figure", "fig05"]) == 2
    command = f"BNONLY_DATA='{place}/elsewhere/my data' snakemake --snakefile ../Snakefile --directory . fig05\n"
    assert capsys.readouterr().err.endswith(f"draw it: {command}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("__use_yte__: true\nconfigfile: over.yaml", "p/config.yaml: bnonly does not read profiles with __use_yte__"),
        ("config: 3", "p/config.yaml: config must be a mapping, or a list of KEY=VALUE (got 3)"),
        ("config: [scale]", "p/config.yaml: config: Invalid config definition"),
        ("configfile: 3", "p/config.yaml: configfile must be the name of a file, or a list of names (got 3)"),
        ("configfile: [over.yaml]", "p/config.yaml: in a list of configfile, Snakemake does not look in the profile's"),
        ("directory: [a]", "p/config.yaml: directory must be the name of a folder (got ['a'])"),
        ("config: {lr: 3}", "p/config.yaml: unknown key lr"),
    ],
)
def test_what_is_not_understood_is_refused_in_one_line(text, said, place, capsys):
    (place / "p/config.yaml").write_text(text)
    assert cli.main(["--profile", "p", "cells"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"bnonly: error: {said}") and err.count("\n") == 1


def test_commands_say_what_the_last_run_had(place, capsys):
    paths.CONFIGURATION.parent.mkdir()
    paths.CONFIGURATION.write_text(json.dumps(mini(precision="fp32")))  # the workflow records the resolved precision
    digests(capsys)
    assert cli.main(["cells"]) == 0
    assert "note" not in capsys.readouterr().err
    assert cli.main(["--set", "recipes.digits.lr=0.3", "cells"]) == 0
    assert "had another configuration: recipes.digits.lr is 0.3, there it is 0.1" in capsys.readouterr().err
    paths.CONFIGURATION.write_text("{")
    assert cli.main(["cells"]) == 0
    assert "results/.configuration.json: cannot be read" in capsys.readouterr().err


def test_prune_keeps_what_the_last_run_wants(place, capsys):
    cell = resolve(mini()).cell("ResNet-8-c4", "bn", 0)
    cell.key.folder.mkdir(parents=True)
    checkpoint = paths.checkpoint(cell.key.folder, cell.digest())
    checkpoint.touch()
    for content, status in ((json.dumps(mini()), 0), ("{", 2)):
        paths.CONFIGURATION.write_text(content)
        assert cli.main(["--set", "recipes.digits.lr=0.3", "prune"]) == status
        assert checkpoint.exists()
    paths.CONFIGURATION.write_text(json.dumps(mini(recipes__digits__lr=0.3)))
    assert cli.main(["--set", "recipes.digits.lr=0.3", "prune"]) == 0
    assert not checkpoint.exists()
