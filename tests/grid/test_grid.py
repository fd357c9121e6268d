"""From config.yaml to cells: the paper's numbers, identity, and every mistake answered in one line."""

from pathlib import Path

import pytest
from tests.mini import mini, write

from bnonly.config.layers import Layers
from bnonly.errors import UserError
from bnonly.figures import outputs
from bnonly.grid.cell import Key, differences, parse_cell
from bnonly.grid.resolve import load_grid, resolve
from bnonly.paper.deviations import on_request

ROOT = Path(__file__).parents[2]
PAPER = load_grid(ROOT / "config.yaml")


def test_the_paper_is_266_trainings_and_1220_runs():
    keys = PAPER.on_default()
    assert len(keys) == 1220
    assert len({k[:2] for k in keys}) == 266
    by_experiment = {n: {k[:2] for k in PAPER.keys_of(e)} for n, e in PAPER.experiments.items()}
    assert len(by_experiment["cifar-depth"]) == 98
    assert len(by_experiment["cifar-width"] - by_experiment["cifar-depth"]) == 70
    assert [len(by_experiment[n]) for n in ("vgg", "small", "imagenet")] == [24, 19, 55]


def test_the_text_only_cells_are_on_request():
    extra = on_request(PAPER)
    assert {k[1] for k in extra} == {
        "all_affine_frozen", "bn_he_uniform", "bn_binary", "bn_orthogonal", "bn_gamma_one", "bn_gamma_centred", "rand2_layer",
    }  # fmt: skip
    beyond = set(PAPER.cells) - PAPER.on_default() - extra
    assert {name for name, e in PAPER.experiments.items() if beyond & set(PAPER.keys_of(e))} == {
        "beyond-affine", "beyond-decay", "beyond-rates", "beyond-rates-no-decay",
    }  # fmt: skip


def test_wrn_14_1_is_trained_once():
    assert PAPER.cell("WRN-14-1", "bn", 3) is PAPER.cell("ResNet-14", "bn", 3)


def test_every_cell_has_its_own_identity_and_survives_json():
    digests = {c.digest() for c in PAPER.cells.values()}
    assert len(digests) == len(PAPER.cells)
    for cell in list(PAPER.cells.values())[::97]:
        assert parse_cell(cell.canonical()) == cell


def test_order_of_keys_and_comments_do_not_matter(tmp_path):
    config = mini()
    a = load_grid(write(tmp_path, config))
    config["recipes"]["digits"] = dict(reversed(config["recipes"]["digits"].items()))
    path = write(tmp_path, config)
    path.write_text("# a comment\n" + path.read_text())
    b = load_grid(path)
    assert {k: c.digest() for k, c in a.cells.items()} == {k: c.digest() for k, c in b.cells.items()}


def test_identity_of_known_cells():
    """Golden digests: results already made would be orphaned if these changed without a new `spec.PROTOCOL`."""
    plain = load_grid(ROOT / "config.yaml", {"engine": "reference", "precision": "fp32"})
    for by, golden in ((PAPER, GOLDEN), (plain, GOLDEN_REFERENCE)):
        assert by.cell("ResNet-110", "bn", 0).digest() == golden["ResNet-110"]
        assert by.cell("ImageNet-ResNet-50", "rand2", 2).digest() == golden["ImageNet-ResNet-50"]


def test_one_number_scales_the_schedule():
    small = load_grid(ROOT / "config.yaml", {"scale": 0.05}).cell("ResNet-14", "bn", 0).recipe
    assert (small.epochs, small.milestones) == (8.0, (4.0, 6.0))


def test_a_regime_can_override_the_recipe():
    changed = resolve(mini(regimes__bn__override={"lr": 0.5}))
    assert changed.cell("ResNet-8-c4", "bn", 0).recipe.lr == 0.5
    assert changed.cell("ResNet-8-c4", "all", 0).recipe.lr == 0.1


def test_numbers_that_yaml_or_a_command_line_made_text():
    cell = resolve(mini(recipes__digits__lr="1e-1", recipes__digits__batch_size="128")).cell("ResNet-8-c4", "bn", 0)
    assert cell.recipe == resolve(mini()).cell("ResNet-8-c4", "bn", 0).recipe
    text = mini(experiments__cifar_depth__seeds=["0", "3"], regimes__bn__gamma_init="1")
    assert resolve(text).cell("ResNet-8-c4", "bn", 3).regime.gamma_init == (1.0, 1.0)


def test_differences_names_the_key():
    a, b = (resolve(mini(recipes__digits__lr=v)).cell("ResNet-8-c4", "bn", 0).canonical() for v in (0.1, 0.2))
    assert differences(a, b) == "recipe.lr is 0.1, the file's is 0.2"


MISTAKES = {
    "misspelt key": (dict(recipes__digits__epoch=3), "unknown key recipes.digits.epoch; did you mean 'epochs'?"),
    "misspelt top key": (dict(recipe={}), "unknown key recipe; did you mean 'recipes'?"),
    "unknown architecture": (
        dict(experiments__cifar_depth__architectures=["ResNet-8-c5"]),
        "experiments.cifar-depth.architectures[0] is 'ResNet-8-c5'; did you mean 'ResNet-8-c4'?",
    ),
    "unknown regime": (
        dict(experiments__cifar_depth__regimes=["bm"]),
        "experiments.cifar-depth.regimes[0] is 'bm'; did you mean 'bn'?",
    ),
    "unknown data set": (dict(recipes__digits__dataset="digitz"), "recipes.digits.dataset is 'digitz'; did you mean 'digits'?"),
    "unknown family": (
        dict(architectures={"X": {"family": "resnet", "depth": 8}}),
        "architectures.X.family is 'resnet'; did you mean 'cifar-resnet'?",
    ),
    "impossible depth": (
        dict(architectures={"X": {"family": "cifar-resnet", "depth": 9}}),
        "architectures.X.depth must be one of the depths of cifar-resnet, 6n+2: 8, 14, 20, 32, ... (got 9)",
    ),
    "k above the fan-in": (
        dict(regimes__rand2__random={"k": 5, "per": "channel"}),
        "regimes.rand2.random.k must be at most 4, the smallest fan-in of a filter in architectures.ResNet-8-c4 (got 5)",
    ),
    "k above the fan-in, spread over the layer": (
        dict(regimes__rand2__random={"k": 5, "per": "layer"}),
        "regimes.rand2.random.k must be at most 4, the smallest fan-in of a filter in architectures.ResNet-8-c4 (got 5)",
    ),
    "shift out of the enlarged image": (
        dict(recipes__digits__image_size=16, recipes__digits__augmentation={"shift": 16}),
        "recipes.digits.augmentation.shift must be less than 16, the side of the image (got 16)",
    ),
    "learning rate longer than a float": (
        dict(recipes__digits__lr=10**400),
        "recipes.digits.lr must be at most 1000000000 (got a number of more than 50 digits)",
    ),
    "milestone longer than a float": (
        dict(recipes__digits__milestones=[1, 10**400]),
        "recipes.digits.milestones[1] must be at most 1000000000 (got a number of more than 50 digits)",
    ),
    "override": (dict(regimes__bn__override={"lr": -1}), "regimes.bn.override.lr must be greater than 0 (got -1)"),
    "override within a mapping": (
        dict(architectures__ResNet_8_c4__override={"augmentation": {"shift": "far"}}),
        "architectures.ResNet-8-c4.override.augmentation.shift must be a whole number (got 'far')",
    ),
    "unknown data set of an override": (
        dict(experiments__cifar_depth__override={"dataset": "digitz"}),
        "experiments.cifar-depth.override.dataset is 'digitz'; did you mean 'digits'?",
    ),
    "override that does not go with the recipe": (
        dict(experiments__cifar_depth__override={"epochs": 1}),
        "recipes.digits.milestones must end before epochs, 1 (got [1]; experiments.cifar-depth.override.epochs is 1)",
    ),
    "batch that does not go with an override's data": (
        dict(recipes__digits__batch_size=50_000, experiments__cifar_depth__override={"dataset": "digits"}),
        "recipes.digits.batch_size must be at most 1437, the training images of digits (got 50000; experiments.cifar-depth.override.dataset is 'digits')",
    ),
    "data sets mixed": (
        dict(regimes__bn__override={"dataset": "cifar10"}),
        "must have one data set (got cifar10 (regimes.bn.override.dataset) and digits (recipes.digits.dataset))",
    ),
    "override that takes something away": (dict(regimes__bn__override={"lr": None}), "regimes.bn.override.lr is missing"),
    "negative learning rate": (dict(recipes__digits__lr=-0.1), "recipes.digits.lr must be greater than 0 (got -0.1)"),
    "text for a number": (dict(recipes__digits__lr="fast"), "recipes.digits.lr must be a number (got 'fast')"),
    "milestones after the end": (dict(recipes__digits__epochs=1), "recipes.digits.milestones must end before epochs, 1 (got [1])"),
    "warm-up of all epochs": (dict(recipes__digits__warmup_epochs=2), "recipes.digits.warmup_epochs must be less than epochs, 2 (got 2)"),
    "momentum": (dict(recipes__digits__momentum=1), "recipes.digits.momentum must be less than 1 (got 1)"),
    "shift out of the image": (dict(recipes__digits__augmentation={"shift": 8}), "recipes.digits.augmentation.shift must be less than 8, the side of the image (got 8)"),
    "crop of small images": (dict(recipes__digits__augmentation={"crop": True}), "recipes.digits.augmentation.crop must be false for digits, whose small images are shifted, not cropped (got true)"),
    "misspelt key nobody uses": (dict(recipes__other={"epchs": 1}), "unknown key recipes.other.epchs; did you mean 'epochs'?"),
    "misspelt override": (dict(regimes__bn__override={"lrr": 1}), "unknown key regimes.bn.override.lrr; did you mean 'lr'?"),
    "a name that is no folder": (dict(architectures={"a,b": {}}), "architectures has the name 'a,b'; names consist of letters, digits"),
    "batch of one": (dict(recipes__digits__batch_size=1), "recipes.digits.batch_size must be at least 2: BatchNorm cannot normalise a single image (got 1)"),
    "learning rate nan": (dict(recipes__digits__lr=float("nan")), "recipes.digits.lr must be a number (got nan)"),
    "no seeds": (dict(experiments__cifar_depth__seeds=[]), "experiments.cifar-depth.seeds must list at least one item (got [])"),
    "seed twice": (dict(experiments__cifar_depth__seeds=[1, 1]), "experiments.cifar-depth.seeds must list each item once (got [1, 1])"),
    "negative seed": (dict(experiments__cifar_depth__seeds=[-1]), "experiments.cifar-depth.seeds[0] must be at least 0 (got -1)"),
    "milestones fall": (dict(recipes__digits__milestones=[2, 1]), "recipes.digits.milestones must rise (got [2, 1])"),
    "unknown group": (dict(regimes__bn__train=["gama"]), "regimes.bn.train[0] is 'gama'; did you mean 'gamma'?"),
    "disabled but trained": (dict(regimes__bn__affine="disabled"), "regimes.bn.affine must be 'drawn' where train lists gamma or beta (got 'disabled')"),
    "random without k": (dict(regimes__rand2__random={}), "regimes.rand2.random.k is missing"),
    "batch larger than the data": (dict(recipes__digits__batch_size=2000), "recipes.digits.batch_size must be at most 1437, the training images of digits (got 2000)"),
    "last batch of one": (dict(recipes__digits__batch_size=4 * 359), "recipes.digits.batch_size must not leave 1 of the 1437 training images of digits for a last batch, because BatchNorm needs 2 or more; take 1435 (got 1436)"),
    "image too small": (
        dict(architectures={"ResNet-8-c4": {"family": "vgg", "depth": 11}, "ResNet-14-c4": {"same_as": "ResNet-8-c4"}}),
        "recipes.digits.dataset must have images of at least 16 pixels for architectures.ResNet-8-c4, not 8 (got 'digits')",
    ),
    "no experiments": (dict(experiments={}), "experiments must list at least one item (got {})"),
    "random that is not given": (dict(regimes__rand2__random=None), "regimes.rand2.random must be given if and only if train lists random, for example {k: 2, per: channel} (got None)"),
    "random beside conv": (dict(regimes__rand2__train=["random", "conv"]), "regimes.rand2.train must not list conv or shortcut beside random"),
    "disabled with a start": (dict(regimes__all={"train": ["conv"], "affine": "disabled", "beta_init": 1}), "regimes.all.beta_init must be left out where affine is 'disabled'"),
    "bounds that fall": (dict(regimes__bn__gamma_init=[1, 0]), "regimes.bn.gamma_init must be [low, high] with low at most high (got [1, 0])"),
    "alias of an alias": (
        dict(architectures__X={"same_as": "Y"}, architectures__Y={"same_as": "ResNet-8-c4"}),
        "architectures.X.same_as must name an architecture that is not an alias itself (got 'Y')",
    ),
    "misspelt key of an alias": (dict(architectures__X={"same_as": "Y", "lable": 1}), "unknown key architectures.X.lable; did you mean 'label'?"),
    "misspelt key of a mapping in a mapping": (dict(recipes__digits__augmentation={"shft": 1}), "unknown key recipes.digits.augmentation.shft; did you mean 'shift'?"),
    "true for a number": (dict(recipes__digits__lr=True), "recipes.digits.lr must be a number (got true)"),
    "text for true": (dict(warm="perhaps"), "warm must be true or false (got 'perhaps')"),
    "precision of another engine": (dict(precision="bf16"), "precision must be fp32 with engine: reference; others need engine: fast (got 'bf16')"),
    "nothing left of a length": (dict(scale=1e-8), "recipes.digits.epochs must be longer: multiplied by scale, 1e-08, a length of the recipe becomes too short (got 2)"),
    "not a mapping": (dict(recipes=[1]), "recipes must be a mapping (got [1])"),
    "case study not there": (
        dict(experiments__cifar_depth__case_study="ResNet-8"),
        "experiments.cifar-depth.case_study is 'ResNet-8'; did you mean 'ResNet-8-c4'?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_answered_in_one_line(what):
    changes, message = MISTAKES[what]
    with pytest.raises(UserError) as caught:
        resolve(mini(**changes))
    text = str(caught.value)
    assert text.startswith("config.yaml: ") and message in text and "\n" not in text


@pytest.mark.parametrize(
    ("layers", "path", "names"),
    [
        (({"a": 1}, {"b": 1}), ("a",), "0"),
        (({"a": 1}, {"a": 2}), ("a",), "1"),
        (({"a": {"x": 1}}, {"a": {"y": 1}}), ("a",), "0 with 1"),
        (({"a": {"x": 1}}, {"a": {"y": 1}}), ("a", "x"), "0"),
        (({"a": {"x": 1}}, {"a": {"y": 1}}), ("a", "z"), "0 with 1"),
        (({"a": {"x": 1}}, {"a": None}, {"a": {"y": 1}}), ("a", "x"), "2"),
        (({"a": {"x": 1}}, {"a": 5}), ("a", "x"), "1"),
        (({"a": {"x": [1]}}, {"b": 1}), ("c", "x"), "0 with 1"),
    ],
)
def test_layers_know_which_of_them_has_a_value(layers, path, names):
    assert Layers(*enumerate(layers)).of(path) == names


def test_two_experiments_that_disagree():
    config = mini()
    config["experiments"]["other"] = config["experiments"]["cifar-depth"] | {"override": {"lr": 0.3}}
    with pytest.raises(
        UserError, match="cifar-depth and experiments.other|other and experiments.cifar-depth"
    ) as caught:
        resolve(config)
    assert "ResNet-8-c4/all/seed0 differently" in str(caught.value)


def test_two_experiments_that_agree_share_their_cells():
    config = mini()
    config["experiments"]["other"] = config["experiments"]["cifar-depth"] | {"seeds": [0, 1]}
    assert len(resolve(config).cells) == 12


def test_files_that_are_not_configurations(tmp_path):
    path = tmp_path / "c.yaml"
    for text, message in (
        ("a: [1", "not YAML"),
        ("- 1", "must be a mapping"),
        ("title: a\ntitle: b", "c.yaml:2: key 'title' is given twice"),
        ("? [a, b]\n: 1", "cannot be a key"),
        ("title: 2026-13-45", "not YAML"),
        ("\udcff", "not YAML"),
    ):
        path.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(UserError, match=message.replace("[", r"\[")):
            load_grid(path)
    with pytest.raises(UserError, match="No such file"):
        load_grid(tmp_path / "absent.yaml")


def test_asking_for_what_is_not_there():
    small = resolve(mini())
    for arguments, message in (
        (("ResNet-8-c5", "bn", 0), "did you mean 'ResNet-8-c4'"),
        (("ResNet-8-c4", "bm", 0), "did you mean 'bn'"),
        (("ResNet-8-c4", "bn", 7), r"has seeds \[0\], not 7"),
    ):
        with pytest.raises(UserError, match=message):
            small.cell(*arguments)


def test_a_figure_without_its_cells():
    with pytest.raises(UserError, match="fig08 needs experiments.vgg"):
        outputs.ask(resolve(mini()), "fig08")
    with pytest.raises(
        UserError, match="fig02 needs regimes bn_out and out in experiments.cifar-depth.regimes; add them"
    ):
        outputs.ask(resolve(mini()), "fig02")
    with pytest.raises(UserError, match="fig01 needs regime 'all_noaffine' in .*cifar-depth.regimes; add it"):
        outputs.ask(resolve(mini()), "fig01")
    with pytest.raises(UserError, match="no figure or table is called fig5; did you mean .fig05"):
        outputs.ask(resolve(mini()), "fig5")


def test_an_architecture_called_as_a_regime_has_a_label_of_its_own():
    config = mini(regimes__bn__label="BatchNorm")
    config["architectures"]["bn"] = config["architectures"].pop("ResNet-8-c4")
    config["experiments"]["cifar-depth"] |= {"architectures": ["bn"], "case_study": "bn"}
    asked = outputs.ask(resolve(config), "fig05")
    (panel,) = asked.panels
    assert asked.labels["bn"] == "BatchNorm" and [a.label for a in panel.architectures] == ["bn"]


def test_requests_name_each_cell_once_and_carry_digests():
    asked = outputs.ask(PAPER, "fig05")
    assert len(asked.cells()) == 12 * 2 * 5 + 5 * 2 * 3
    for key, digest in asked.cells().items():
        assert PAPER.cell(*key).digest() == digest and digest in asked.to_json()


def test_a_key_is_read_as_it_is_written():
    for key in PAPER.cells:
        assert Key.parse(str(key)) == Key.parse(str(key.folder)) == key
        assert str(key.folder) == f"results/{key}" and str(key.log("train")) == f"logs/train/{key}.log"
    for other in ("ResNet-14/bn/seed00", "ResNet-14/bn/seed٠", "ResNet-14/bn", "a/ResNet-14/bn/seed0", "../bn/seed0"):
        assert Key.parse(other) is None


GOLDEN = {"ResNet-110": "eff802d427ffaf03", "ImageNet-ResNet-50": "2be050d489f5e272"}
#: Of the reference engine in fp32, which are left out of the canonical JSON.
GOLDEN_REFERENCE = {"ResNet-110": "616585a9dcc1590f", "ImageNet-ResNet-50": "459d9d2e36a12190"}
