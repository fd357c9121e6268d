"""The paper's statements and the rules that decide them, read from ``claims.yaml`` and checked (standard library and yaml)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

from bnonly.errors import UserError, accepted
from bnonly.grid import read_yaml
from bnonly.spec import Architecture, Augmentation, Recipe, Regime

SOURCE = Path(__file__).with_name("claims.yaml")

#: What a test measures on every run; a threshold of |γ| or |β| where there is a second word.
RUN_METRICS: dict[str, str] = {
    "top1": "top-1 test accuracy (%)",
    "top5": "top-5 test accuracy (%)",
    "small_gammas": "share of small |γ| (%)",
    "small_betas": "share of small |β| (%)",
    "clamping_change": "change of accuracy by clamping small γ (points)",
    "disabled_activations": "share of ReLU channels that are off (%)",
    "constant_activations": "share of ReLU channels always off or always on (%)",
    "sometimes_active": "share of ReLU channels on 10 to 70 % of the time (%)",
    "gamma_magnitude": "mean |γ|",
    "gamma_mean": "mean of γ",
    "gamma_sd": "standard deviation of γ",
    "gamma_positive": "share of positive γ (%)",
    "gamma_negative": "share of negative γ (%)",
    "gamma_within": "share of γ within bounds (%)",
    "gamma_normal_distance": "distance of γ from a normal distribution",
    "failed": "runs that diverged or ended near guessing",
}
#: What is known of a network without training it.
COUNT_METRICS: dict[str, str] = {
    "total": "parameters",
    "batchnorm": "BatchNorm parameters",
    "output": "output parameters",
    "shortcut": "shortcut parameters",
    "conv_weights": "convolution weights",
    "batchnorm_percent": "BatchNorm's share of the parameters (%)",
    "output_percent": "the output's share of the parameters (%)",
    "shortcut_percent": "the shortcuts' share of the parameters (%)",
    "trainable": "trained parameters",
    "trainable_percent": "share of the parameters that train (%)",
    "chance": "accuracy of guessing (%)",
}
WITH_THRESHOLD = ("small_gammas", "small_betas", "clamping_change")
THRESHOLDS = (0.01, 0.05, 0.1)

#: Each rule with the keys it needs, beside `metric` and `of`.
RULES: dict[str, tuple[str, ...]] = {
    "equals": ("to",),
    "range": ("low", "high"),
    "at_most": ("to",),
    "at_least": ("to",),
    "greater": (),
    "smaller": (),
    "trend": ("direction",),
    "count": ("to",),
    "setting": ("key", "to"),
    "structure": ("fact", "to"),
}
#: Rules that a run on other data can follow: they say which is more, not how much.
ORDERINGS = ("greater", "smaller", "trend")
FACTS = ("stem_channels", "blocks", "layers", "shortcut", "stride")
#: How the values of several networks become one; "each": every one must pass by itself.
REDUCTIONS = (
    "each",
    "mean",
    "max",
    "slope",
    "r",
    "r2",
    "log10_p",
    "last_residual",
    "steeper",
    "best_equal_count_gap",
    "stratum_gap",
    "largest_ratio",
    "exponent",
)
#: Those of counts.
COUNT_REDUCTIONS = ("each", "mean", "max", "largest_ratio", "exponent")
_KEYS = (
    "rule metric of minus over reduce to low high tolerance margin direction threshold bounds key fact".split()
)  # fmt: skip
PLACES = ("*", "first", "last", "lower", "upper", "but-last", "=")
KINDS = ("result", "count", "setting", "external")


@dataclass(frozen=True)
class PaperExperiment:
    """One of the paper's experiments: what a cell must be to be evidence for a claim."""

    dataset: str
    seeds: int
    architectures: Mapping[str, Architecture]


@dataclass(frozen=True)
class Selector:
    """EXPERIMENT/ARCHITECTURES/REGIMES; no regimes for what is known of a network."""

    experiment: str
    architectures: str
    regimes: tuple[str, ...]

    @property
    def relative(self) -> bool:
        """Whether the architectures go by their place, so that a run with others has them, too."""
        return self.architectures in PLACES

    def pick(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the architectures among an experiment's, in its order."""
        half = len(names) // 2
        chosen: dict[str, Sequence[str]] = {
            "*": names,
            "first": names[:1],
            "last": names[-1:],
            "lower": names[: max(1, half)],
            "upper": names[len(names) - max(1, half) :],
            "but-last": names[:-1],
        }
        return tuple(chosen.get(self.architectures, tuple(self.architectures.split("+"))))


@dataclass(frozen=True)
class Test:
    """One rule about one quantity.

    Attributes
    ----------
    low, high : float
        The region of values that pass; the tolerance is in it.
    strict : bool
        Whether the bounds themselves fail.
    minus : str
        A regime of the same network, or a selector, whose value is subtracted, paired by seed; empty: nothing.
    over : Test or None
        What a count is divided by.
    expected : object
        For settings, structure and counts of runs: what is wanted.
    """

    __test__ = False  # pytest must not collect it

    rule: str
    metric: str
    of: tuple[Selector, ...]
    minus: str = ""
    over: Test | None = None
    reduce: str = "each"
    low: float = -inf
    high: float = inf
    strict: bool = False
    direction: str = ""
    thresholds: tuple[float, ...] = ()
    bounds: tuple[float, float] = (-inf, inf)
    key: str = ""
    expected: Any = None
    words: str = ""

    @property
    def kind(self) -> str:
        """What decides it: a "setting", a "count" or a "result"."""
        if self.rule == "setting":
            return "setting"
        return "count" if self.rule == "structure" or self.metric in COUNT_METRICS else "result"

    @property
    def ordering(self) -> bool:
        """Whether the test is about more or less, not about how much, and names no network of the paper."""
        about_zero = self.minus and self.rule in ("at_most", "at_least") and self.expected == 0
        selectors = [*self.of, *([parse_selector(self.minus)] if "/" in self.minus else [])]
        return (self.rule in ORDERINGS or bool(about_zero)) and all(s.relative for s in selectors)


@dataclass(frozen=True)
class Claim:
    """One checkable statement of the paper.

    Attributes
    ----------
    value : str
        As printed.
    inconsistent : str
        The arithmetic that shows the statement wrong by the paper's own numbers; empty: none is known.
    external : str
        Why the statement is not this paper's to reproduce; empty: it is.
    reading, note : str
        What we made of vague words; what else to know.
    """

    id: str
    page: int
    section: str
    figures: tuple[str, ...]
    says: str
    value: str
    tests: tuple[Test, ...]
    inconsistent: str = ""
    external: str = ""
    reading: str = ""
    note: str = ""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return "external" if self.external else self.tests[0].kind

    @property
    def ordering(self) -> bool:
        """Whether a run on other data can show it."""
        return self.kind == "result" and all(t.ordering for t in self.tests)

    @property
    def rule(self) -> str:
        """The rule in words."""
        return "; ".join(dict.fromkeys(t.words for t in self.tests)) or "none"


@dataclass(frozen=True)
class Catalog:
    """All claims and the paper's experiments."""

    source: str
    experiments: Mapping[str, PaperExperiment]
    claims: tuple[Claim, ...]


@cache
def load(source: Path = SOURCE) -> Catalog:
    """Read and check a claims file.

    Parameters
    ----------
    source : Path
        The file; the paper's unless given.

    Raises
    ------
    UserError
        In one line: file, claim, key, value and what would be right.
    """
    content = read_yaml(source)
    where = str(source.name if source == SOURCE else source)
    unknown = set(content) - {"experiments", "claims", "tables", "errata"}
    if unknown:
        key = sorted(unknown)[0]
        raise UserError(
            f"{where}: {key} is no part of a claims file; {accepted(key, ('experiments', 'claims', 'tables', 'errata'))}"
        )
    experiments = {n: _experiment(where, n, e) for n, e in _mapping(where, "experiments", content).items()}
    reader = _Reader(where, experiments)
    claims = [reader.claim(str(i), body) for i, body in _mapping(where, "claims", content).items()]
    errata = _mapping(where, "errata", content)
    for block in content.get("tables", []):
        claims += reader.table(block, errata)
    seen: set[str] = set()
    for claim in claims:
        if claim.id in seen:
            raise UserError(f"{where}: {claim.id} is given twice; every claim has an id of its own")
        seen.add(claim.id)
    stray = sorted(set(errata) - seen)
    if stray:
        raise UserError(f"{where}: errata.{stray[0]}: no such claim; {accepted(stray[0], seen)}")
    return Catalog(where, experiments, tuple(claims))


def _mapping(where: str, key: str, content: Mapping[str, Any]) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise UserError(f"{where}: {key}: a mapping is wanted, found {type(value).__name__}")
    return value


def _experiment(where: str, name: str, body: Any) -> PaperExperiment:
    try:
        archs = {a: Architecture(a, str(family), int(d), int(c)) for a, (family, d, c) in body["architectures"].items()}
        return PaperExperiment(str(body["dataset"]), int(body["seeds"]), archs)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"{where}: experiments.{name}: dataset, seeds and architectures: {{NAME: [family, depth, channels]}} are wanted"
        ) from None


def parse_selector(text: str) -> Selector:
    """Split ``cifar-depth/*/bn``."""
    parts = [*text.split("/"), "", ""]
    return Selector(parts[0], parts[1], tuple(r for r in parts[2].split("+") if r))


@cache
def settings() -> tuple[str, ...]:
    """Return what a rule "setting" may ask for: the fields of a cell, and the number of its replicates."""

    def fields(kind: Any, prefix: str) -> list[str]:
        names = [f.name for f in dataclasses.fields(kind)]
        return [f"{prefix}.{n}" for n in names if n not in ("name", "augmentation")]

    parts = {"recipe": Recipe, "recipe.augmentation": Augmentation, "regime": Regime, "architecture": Architecture}
    return ("replicates", "engine", "precision", *(n for prefix, kind in parts.items() for n in fields(kind, prefix)))


class _Reader:
    def __init__(self, where: str, experiments: Mapping[str, PaperExperiment]) -> None:
        from bnonly import outputs

        self.where, self.experiments = where, experiments
        self.figures = outputs.names()

    def fail(self, claim: str, key: str, value: Any, wanted: str) -> UserError:
        return UserError(f"{self.where}: {claim}: {key} is {value!r}; {wanted}")

    def claim(self, name: str, body: Any) -> Claim:
        keys = ("page", "section", "figures", "says", "value", "reading", "note", "inconsistent", "external", "tests")
        if not isinstance(body, dict):
            raise UserError(f"{self.where}: {name}: a mapping of {', '.join(keys)} is wanted")
        for key in body:
            if key not in keys:
                raise UserError(f"{self.where}: {name}: {key} is no key of a claim; {accepted(key, keys)}")
        for key in ("page", "section", "says", "value"):
            if key not in body:
                raise UserError(f"{self.where}: {name}: {key} is missing")
        if not isinstance(body["page"], int):
            raise self.fail(name, "page", body["page"], "a number is wanted")
        figures = tuple(body.get("figures", ()))
        for figure in figures:
            if figure not in self.figures:
                raise self.fail(
                    name, "figures", figure, f"no figure or table is called so; {accepted(figure, self.figures)}"
                )
        tests = body.get("tests", [])
        if not isinstance(tests, list):
            raise self.fail(name, "tests", tests, "a list is wanted")
        if bool(tests) == bool(body.get("external")):
            raise UserError(
                f"{self.where}: {name}: give either tests, or external: why it is not this paper's to reproduce"
            )
        read = tuple(self.test(name, t) for t in tests)
        if len({t.kind for t in read}) > 1:
            kinds = ", ".join(sorted({t.kind for t in read}))
            raise UserError(f"{self.where}: {name}: its tests are of several kinds ({kinds}); make a claim of each")
        return Claim(
            name,
            body["page"],
            str(body["section"]),
            figures,
            str(body["says"]),
            str(body["value"]),
            read,
            **{k: str(body.get(k, "")) for k in ("inconsistent", "external", "reading", "note")},
        )

    def table(self, block: Any, errata: Mapping[str, Any]) -> list[Claim]:
        try:
            first, values = str(block["first"]), [str(v) for v in block["values"]]
            experiment, metric = str(block["experiment"]), str(block["metric"])
            page, section, table = int(block["page"]), str(block["section"]), str(block["table"])
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{self.where}: tables: first, page, section, table, experiment, metric and values are wanted in {block!r}"
            ) from None
        self.check_metric(first, metric, COUNT_METRICS)
        self.check_experiment(first, experiment)
        names = list(self.experiments[experiment].architectures)
        if len(names) != len(values):
            raise self.fail(
                first, "values", len(values), f"one for each of {experiment}'s {len(names)} networks is wanted"
            )
        if table not in self.figures:
            raise self.fail(first, "table", table, accepted(table, self.figures))
        out = []
        for i, (name, value) in enumerate(zip(names, values, strict=True)):
            number, half = printed(value, f"{self.where}: {first}")
            # float(...) of an exact decimal: a tie may be rounded either way, so both ends pass
            test = Test(
                "equals",
                metric,
                (Selector(experiment, name, ()),),
                low=float(number - half),
                high=float(number + half),
                expected=float(number),
                words=f"{COUNT_METRICS[metric]}: {value} after rounding",
            )
            shown = f"{value} %" if metric.endswith("percent") else value
            key = f"{first[0]}{int(first[1:]) + i:03d}"
            says = f"{name.removeprefix('ImageNet-')}: {COUNT_METRICS[metric].removesuffix(' (%)')}"
            out.append(Claim(key, page, section, (table,), says, shown, (test,), str(errata.get(key, ""))))
        return out

    def test(self, name: str, body: Any) -> Test:
        if not isinstance(body, dict):
            raise self.fail(name, "tests", body, "a mapping with a rule is wanted")
        for key in body:
            if key not in _KEYS:
                raise UserError(f"{self.where}: {name}: {key} is no key of a test; {accepted(key, _KEYS)}")
        rule = body.get("rule")
        if rule not in RULES:
            raise self.fail(name, "rule", rule, f"there is no such rule; {accepted(str(rule), RULES)}")
        for key in (*RULES[rule], "of"):
            if key not in body:
                raise UserError(f"{self.where}: {name}: rule {rule} needs {key}")
        metric = str(body.get("metric", ""))
        if rule not in ("setting", "structure"):
            self.check_metric(name, metric, {**RUN_METRICS, **COUNT_METRICS})
        reduce = body.get("reduce", "each")
        if reduce not in REDUCTIONS:
            raise self.fail(name, "reduce", reduce, accepted(str(reduce), REDUCTIONS))
        counted = metric in COUNT_METRICS
        usable = COUNT_REDUCTIONS if counted else [r for r in REDUCTIONS if r not in ("largest_ratio", "exponent")]
        if reduce not in usable:
            raise self.fail(name, "reduce", reduce, f"not with {metric}; {accepted(reduce, usable)}")
        if rule == "count" and metric != "failed":
            raise self.fail(name, "metric", metric, "rule count counts runs: failed is wanted")
        if rule == "setting" and body["key"] not in settings():
            raise self.fail(
                name, "key", body["key"], f"there is no such setting; {accepted(str(body['key']), settings())}"
            )
        if rule == "structure" and body["fact"] not in FACTS:
            raise self.fail(name, "fact", body["fact"], accepted(str(body["fact"]), FACTS))
        if rule == "trend" and body["direction"] not in ("rising", "falling"):
            raise self.fail(name, "direction", body["direction"], "rising or falling is wanted")
        minus = str(body.get("minus", ""))
        if rule in ("greater", "smaller") and not minus and reduce == "each":
            raise UserError(f"{self.where}: {name}: rule {rule} needs minus: what it is compared with")
        raw = body.get("threshold", ())
        thresholds = tuple(raw) if isinstance(raw, list) else (raw,) if raw else ()
        if (metric in WITH_THRESHOLD) != bool(thresholds):
            raise self.fail(name, "threshold", body.get("threshold"), f"one goes with {', '.join(WITH_THRESHOLD)}")
        for threshold in thresholds:
            if threshold not in THRESHOLDS:
                raise self.fail(name, "threshold", threshold, f"one of {', '.join(map(str, THRESHOLDS))} is wanted")
        needs_regime = rule == "setting" or metric in RUN_METRICS or metric.startswith("trainable")
        of = self.selectors(name, body["of"], needs_regime)
        if minus:
            self.minus(name, minus)
        low, high, strict = self.region(name, rule, body)
        over = self.over(name, body["over"]) if "over" in body else None
        bounds = body.get("bounds", [-inf, inf])
        if not (isinstance(bounds, list) and len(bounds) == 2 and all(isinstance(b, int | float) for b in bounds)):
            raise self.fail(name, "bounds", bounds, "two numbers are wanted")
        return Test(
            rule,
            metric,
            of,
            minus,
            over,
            reduce,
            low,
            high,
            strict,
            str(body.get("direction", "")),
            thresholds,
            (float(bounds[0]), float(bounds[1])),
            str(body.get("key", body.get("fact", ""))),
            _plain(body.get("to")),
            in_words(rule, metric, body, low, high),
        )

    def over(self, name: str, body: Any) -> Test:
        if not isinstance(body, dict):
            raise self.fail(name, "over", body, "metric and of are wanted")
        test = self.test(name, {"rule": "equals", "to": 0, **body})
        if test.kind != "count" or len(test.of) > 1 or test.of[0].relative or "+" in test.of[0].architectures:
            raise self.fail(name, "over", dict(body), "a count of one named network is wanted")
        return test

    def region(self, name: str, rule: str, body: Mapping[str, Any]) -> tuple[float, float, bool]:
        def number(key: str, default: float = 0.0) -> float:
            value = body.get(key, default)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self.fail(name, key, value, "a number is wanted")
            return float(value)

        tolerance, margin = number("tolerance"), number("margin")
        if tolerance < 0 or margin < 0:
            raise self.fail(name, "tolerance", tolerance, "0 or more is wanted")
        if rule == "equals":
            return number("to") - tolerance, number("to") + tolerance, False
        if rule == "range":
            if number("low") > number("high"):
                raise self.fail(name, "low", body["low"], f"at most high, {body['high']}, is wanted")
            return number("low") - tolerance, number("high") + tolerance, False
        if rule == "at_most":
            return -inf, number("to") + tolerance, False
        if rule in ("at_least", "count"):
            return number("to") - tolerance, inf, False
        if rule in ("greater", "trend"):
            return margin, inf, True
        return (-inf, 0.0 - margin, True) if rule == "smaller" else (-inf, inf, False)

    def selectors(self, name: str, given: Any, needs_regime: bool) -> tuple[Selector, ...]:
        found = []
        for text in given if isinstance(given, list) else [given]:
            selector = parse_selector(str(text))
            self.check_selector(name, selector, needs_regime)
            found.append(selector)
        return tuple(found)

    def minus(self, name: str, text: str) -> None:
        if "/" in text:
            selector = parse_selector(text)
            self.check_selector(name, selector, True)
            one = selector.architectures == "=" or not (selector.relative or "+" in selector.architectures)
            if not one or len(selector.regimes) > 1:
                raise self.fail(name, "minus", text, "one network, or '=' for the same, and one regime are wanted")
        else:
            self.check_regime(name, text)

    def check_selector(self, name: str, selector: Selector, needs_regime: bool) -> None:
        self.check_experiment(name, selector.experiment)
        known = self.experiments[selector.experiment].architectures
        if not selector.relative:
            for architecture in selector.architectures.split("+"):
                if architecture not in known:
                    raise self.fail(
                        name,
                        "of",
                        f"{selector.experiment}/{architecture}",
                        f"the experiment has no such network; {accepted(architecture, [*known, *PLACES])}",
                    )
        for regime in selector.regimes:
            self.check_regime(name, regime)
        if needs_regime and not selector.regimes:
            raise self.fail(name, "of", selector.experiment, "EXPERIMENT/ARCHITECTURES/REGIME is wanted")

    def check_experiment(self, name: str, experiment: str) -> None:
        if experiment not in self.experiments:
            raise self.fail(
                name, "of", experiment, f"there is no such experiment; {accepted(experiment, self.experiments)}"
            )

    def check_regime(self, name: str, regime: str) -> None:
        if regime != "*" and regime not in REGIMES:
            raise self.fail(name, "of", regime, f"there is no such regime; {accepted(regime, REGIMES)}")

    def check_metric(self, name: str, metric: str, known: Iterable[str]) -> None:
        if metric not in known:
            raise self.fail(name, "metric", metric, f"there is no such metric; {accepted(metric, known)}")


#: The paper's regimes, and those of its text, with what each trains: (parts, random weights a filter).
REGIMES: dict[str, tuple[tuple[str, ...], int]] = {
    "all": (("total",), 0),
    "all_alt": (("total",), 0),
    "all_noaffine": (("conv_weights", "conv_biases", "output"), 0),
    "all_affine_frozen": (("conv_weights", "conv_biases", "output"), 0),
    **{
        name: (("batchnorm",), 0)
        for name in "bn bn_alt bn_he_uniform bn_binary bn_orthogonal bn_gamma_one bn_gamma_centred".split()
    },
    "bn_out": (("batchnorm", "output"), 0),
    "out": (("output",), 0),
    "bn_short_out": (("batchnorm", "shortcut", "output"), 0),
    "short_out": (("shortcut", "output"), 0),
    "rand2": ((), 2),
    "rand4": ((), 4),
    "rand8": ((), 8),
    "rand16": ((), 16),
    "rand2_layer": ((), 2),
    "rand2_out": (("output",), 2),
}


def printed(text: str, where: str = "") -> tuple[Decimal, Decimal]:
    """Read a number as printed, and half a unit of its last digit: ``8.29K`` is 8290 and 5.

    Raises
    ------
    UserError
        If it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KM]?)", text)
    if not match:
        raise UserError(f"{where}: value is {text!r}; a number such as 650, 8.29K or 1.73M is wanted")
    unit = {"": Decimal(1), "K": Decimal(1000), "M": Decimal(1_000_000)}[match[2]]
    value = Decimal(match[1])
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    # A count below a thousand is printed whole, and exact.
    half = Decimal(0) if not match[2] and exponent == 0 else Decimal(1).scaleb(exponent) / 2
    return value * unit, half * unit


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def in_words(rule: str, metric: str, body: Mapping[str, Any], low: float, high: float) -> str:
    """Say what passes, in a line."""
    if rule == "setting":
        return f"{body['key']} is {_shown(body['to'])}"
    if rule == "structure":
        return f"{str(body['fact']).replace('_', ' ')}: {_shown(body['to'])}"
    what = {**RUN_METRICS, **COUNT_METRICS}[metric]
    if "threshold" in body:
        what += f", below {_shown(body['threshold'])}"
    if body.get("bounds"):
        what += f" {body['bounds'][0]:g} to {body['bounds'][1]:g}"
    reduce = {
        "mean": "mean over the networks of the ",
        "max": "largest ",
        "slope": "slope for a doubling of BatchNorm's parameters, of the ",
        "r": "Pearson's r with the logarithm of BatchNorm's parameters, of the ",
        "r2": "r² with the logarithm of BatchNorm's parameters, of the ",
        "log10_p": "log10 of the regression's p, of the ",
        "last_residual": "last network's residual from the regression line, of the ",
        "steeper": "by how many percent depth's slope is steeper than width's, of the ",
        "best_equal_count_gap": "largest gap between a small network and BatchNorm at the nearest count, in the ",
        "stratum_gap": "mean gap between wider and narrowest small networks at the nearest count, in the ",
        "largest_ratio": "largest ratio of two networks' ",
        "exponent": "power of the width that fits the ",
    }.get(body.get("reduce", "each"), "")
    text = f"{reduce}{what}"
    if body.get("minus"):
        minus = str(body["minus"])
        text += f", minus that of {minus.replace('=', 'the same network')}"
    if "over" in body:
        text += f", over the {COUNT_METRICS.get(body['over'].get('metric', ''), '')} of {body['over'].get('of', '')}"
    if rule == "trend":
        return f"{text}: {body['direction']} from network to network"
    if rule == "count":
        return f"{text}: at least {_shown(body['to'])}"
    if rule == "greater":
        return f"{text}: above {low:g}"
    if rule == "smaller":
        return f"{text}: below {high:g}"
    if rule == "at_most":
        return f"{text}: at most {high:.10g}"
    if rule == "at_least":
        return f"{text}: at least {low:.10g}"
    return f"{text}: exactly {low:.10g}" if low == high else f"{text}: {low:.10g} to {high:.10g}"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)


#: What the points of a figure show; the other figures are histograms.
DRAWN: dict[str, tuple[str, ...]] = {
    **{f"fig{n:02d}": ("top1", "top5") for n in (1, 2, 3, 8, 9, 10, 11, 12, 13, 14)},
    "fig05": ("small_gammas",),
    "fig06": ("clamping_change",),
    "fig07": ("disabled_activations",),
}


@dataclass(frozen=True)
class Stated:
    """A value that the paper states for one point of a figure."""

    claim: str
    experiment: str
    architecture: str
    regime: str
    metric: str
    threshold: float
    value: float

    @property
    def point(self) -> dict[str, Any]:
        """All but the claim: where it is, and the value."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "claim"}


def stated(figure: str) -> list[Stated]:
    """Return the numbers that the paper states for points of a figure, for `paper_values: true`.

    Only plain values of a network that the paper names: no differences, no extremes, no reading of ours, nothing inconsistent.
    """
    found = []
    for claim in load().claims:
        if figure not in claim.figures or claim.inconsistent or claim.reading:
            continue
        for test in claim.tests:
            drawn = test.metric in DRAWN.get(figure, ())
            plain = drawn and test.rule == "equals" and test.reduce == "each" and not test.minus
            for selector in test.of if plain else ():
                if not selector.relative:
                    for architecture in selector.architectures.split("+"):
                        for regime in selector.regimes:
                            threshold = test.thresholds[0] if test.thresholds else 0.0
                            found.append(
                                Stated(
                                    claim.id,
                                    selector.experiment,
                                    architecture,
                                    regime,
                                    test.metric,
                                    threshold,
                                    float(test.expected),
                                )
                            )
    return found
