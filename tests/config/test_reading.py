"""YAML and JSON as people write them: what Snakemake reads is read, traps are named, and nothing ends in a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.mini import mini

from bnonly.config.layers import Layers, parse_value, read_yaml
from bnonly.errors import UserError
from bnonly.grid.cell import parse_cell
from bnonly.grid.resolve import resolve

ROOT = Path(__file__).parents[2]


@pytest.fixture
def read(tmp_path):
    """Read a text as a configuration file."""

    def of(text):
        path = tmp_path / "c.yaml"
        path.write_text(text)
        return read_yaml(path)

    return of


def test_merge_keys(read):
    text = "base: &base {lr: 0.1, epochs: 2}\nother: {<<: *base, lr: 0.2}\ntwo: {<<: [*base, {drop: 1}]}\n"
    assert read(text)["other"] == {"lr": 0.2, "epochs": 2}
    assert read(text)["two"] == {"lr": 0.1, "epochs": 2, "drop": 1}
    with pytest.raises(UserError, match=r"c.yaml:2: key 'lr' is given twice"):
        read("base: &base {lr: 0.1}\nother: {<<: *base, lr: 0.2, lr: 0.3}\n")


def test_json_in_all_its_layouts(read):
    for indent in ("\t", None, 1):
        assert read(json.dumps(mini(), indent=indent)) == mini()
    assert read("\ufeff" + json.dumps(mini())) == mini()
    with pytest.raises(UserError, match=r"c.yaml: key 'title' is given twice"):
        read('{\n\t"title": "a",\n\t"title": "b"}')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds: [07, 010]", "c.yaml:1: 07 is octal in YAML, 7; write it as a decimal number, or as text in quotes"),
        ("seeds:\n- 0\n- 010", "c.yaml:3: 010 is octal in YAML, 8;"),
        ("epochs: 1:30", "c.yaml:1: 1:30 is in base 60 in YAML, 90;"),
        ("a: " + "[" * 10_000, "c.yaml: is nested more than 30 levels deep"),
        ('{"a":' * 10_000, "c.yaml: is nested more than 30 levels deep"),
        ("- " * 10_000, "c.yaml: is nested more than 30 levels deep"),
        ("x: &x {y: *x}", "c.yaml: "),
        ("a: " + "9" * 5000, "c.yaml: not YAML: "),
        ("a: &a [x]\n" + "".join(f"b{k}: &b{k} [{', '.join([f'*b{k - 1}' if k else '*a'] * 9)}]\n" for k in range(9)), "c.yaml: has more than 100000 values"),
    ],
)  # fmt: skip
def test_traps_are_named(text, said, read):
    with pytest.raises(UserError) as caught:
        read(text)
    message = str(caught.value).partition("/c.yaml")
    assert f"c.yaml{message[2]}".startswith(said) and "\n" not in message[2] and len(message[2]) < 400


def test_values_of_the_command_line_have_the_same_traps():
    assert parse_value("[07a, 1e-4]", "--set x") == ["07a", "1e-4"]
    with pytest.raises(UserError, match="--set x:1: 010 is octal"):
        parse_value("[010]", "--set x")
    with pytest.raises(UserError, match="--set x: is nested more than 30"):
        parse_value("[" * 10_000, "--set x")


def test_decimal_text_with_a_zero_first_is_decimal():
    # Snakemake gives --config values as text.
    assert {k.seed for k in resolve(mini(experiments__cifar_depth__seeds=["07", "010"])).cells} == {7, 10}


@pytest.mark.parametrize(
    ("over", "where"),
    [
        ({"recipes": {"digits": {"augmentation": {}}}}, "recipes.digits.augmentation"),
        ({"regimes": {}}, "regimes"),
        ({"experiments": {"cifar-depth": {}}}, "experiments.cifar-depth"),
    ],
)
def test_an_overlay_that_changes_nothing_says_so(over, where):
    layers = Layers(("config.yaml", mini()), ("over.yaml", over))
    with pytest.raises(UserError, match=rf"over.yaml: {where}: {{}} changes nothing, because mappings are merged"):
        resolve(layers.merged(), layers)


@pytest.mark.parametrize("number", [10**80, -(10**80), 0x10**5000], ids=["80", "minus", "6000"])
@pytest.mark.parametrize("key", ["recipes__digits__epochs", "recipes__digits__batch_size", "scale", "threads"])
def test_long_numbers_are_refused_in_one_line(key, number):
    with pytest.raises(UserError, match="must be (at (most|least)|greater than) .*got a number of more than 50 digits"):
        resolve(mini(**{key: number}))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"depth":8', '"depth":' + "9" * 80),
        lambda text: text.replace('"depth":8', '"depth":' + "9" * 5000),
        lambda text: text.replace('"seed":0', '"seed":4294967296'),
        lambda text: text.replace('"channels":4', '"channels":0'),
        lambda text: "[" * 10_000,
        lambda text: '{"a":' * 10_000,
    ],
)
def test_a_specification_with_impossible_numbers_is_refused_in_one_line(change):
    text = resolve(mini()).cell("ResNet-8-c4", "bn", 0).canonical()
    assert change(text) != text
    with pytest.raises(UserError, match="not a cell's specification") as caught:
        parse_cell(change(text))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("option", ["--specs", "--resolved"])
def test_hidden_options_nested_ten_thousand_deep(option, bnonly, tmp_path):
    (tmp_path / "deep.json").write_text("[" * 10_000)
    value = "[" * 10_000 if option == "--specs" else tmp_path / "deep.json"
    done = bnonly("train", option, value) if option == "--specs" else bnonly("cells", option, value)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("bnonly: error: ") and done.stderr.count("\n") == 1


def test_mutated_configurations():
    command = [sys.executable, "-m", "tests.config.fuzz", "--seed", "1", "--count", "300"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert yaml.safe_load(done.stdout.split()[0]) == 300
