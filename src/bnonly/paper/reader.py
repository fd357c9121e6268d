"""Read claims from the content of a claims file; report a mistake in one line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from functools import cache
from math import inf
from typing import Any

from bnonly.errors import UserError, accepted
from bnonly.grid.cell import Architecture, Augmentation, Recipe, Regime
from bnonly.grid.thresholds import SMALL
from bnonly.paper.claim import Catalog, Claim, PaperExperiment, Selector, Test, parse_selector
from bnonly.paper.vocabulary import (
    COUNT_METRICS,
    COUNT_REDUCTIONS,
    FACTS,
    NAMED_KINDS,
    PLACES,
    REDUCTIONS,
    REGIMES,
    RULES,
    RUN_METRICS,
    WITH_THRESHOLD,
    in_words,
)

_NEEDED = ("page", "section", "says", "value")
_WORDS = ("inconsistent", "external", "reading", "note", "power")
_KEYS = (
    "rule metric of minus over reduce to low high tolerance margin direction threshold bounds key fact".split()
)  # fmt: skip


def read(where: str, content: Mapping[str, Any], figures: Collection[str] = ()) -> Catalog:
    """Read and check the content of a claims file.

    Parameters
    ----------
    where : str
        The file, for messages.
    content : mapping
        Its experiments, claims, tables and errata.
    figures : collection of str
        The figures and tables that a claim may name; if empty, any name is allowed.

    Raises
    ------
    UserError
        One line: file, claim, key, value and the requirement.
    """
    for key in content:
        if key not in (known := ("experiments", "claims", "tables", "errata")):
            raise UserError(f"{where}: unknown key {key}; {accepted(key, known)}")
    experiments = {n: _experiment(where, n, e) for n, e in _mapping(where, "experiments", content).items()}
    reader = _Reader(where, experiments, figures)
    errata = _mapping(where, "errata", content)
    for name, body in _mapping(where, "claims", content).items():
        reader.add(reader.claim(str(name), body))
    for block in content.get("tables", []):
        for claim in reader.table(block, errata):
            reader.add(claim)
    stray = sorted(set(errata) - set(reader.claims))
    if stray:
        raise UserError(f"{where}: errata.{stray[0]}: no such claim; {accepted(stray[0], reader.claims)}")
    return Catalog(where, experiments, tuple(reader.claims.values()))


def _mapping(where: str, key: str, content: Mapping[str, Any]) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise UserError(f"{where}: {key} must be a mapping (got {type(value).__name__})")
    return value


def _experiment(where: str, name: str, body: Any) -> PaperExperiment:
    try:
        archs = {a: Architecture(a, str(family), int(d), int(c)) for a, (family, d, c) in body["architectures"].items()}
        return PaperExperiment(str(body["dataset"]), int(body["seeds"]), archs)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"{where}: experiments.{name}: must have dataset, seeds and architectures: {{NAME: [family, depth, channels]}}"
        ) from None


@cache
def settings() -> tuple[str, ...]:
    """Return the settings that a rule "setting" may name: the fields of a cell, and its number of replicates."""

    def fields(kind: Any, prefix: str) -> list[str]:
        names = [f.name for f in dataclasses.fields(kind)]
        return [f"{prefix}.{n}" for n in names if n not in ("name", "augmentation")]

    parts = {"recipe": Recipe, "recipe.augmentation": Augmentation, "regime": Regime, "architecture": Architecture}
    return (
        "replicates",
        "normalisation",
        "engine",
        "precision",
        *(n for prefix, kind in parts.items() for n in fields(kind, prefix)),
    )


class _Reader:
    def __init__(self, where: str, experiments: Mapping[str, PaperExperiment], figures: Collection[str]) -> None:
        self.where, self.experiments, self.figures = where, experiments, figures
        self.claims: dict[str, Claim] = {}

    def fail(self, claim: str, key: str, value: Any, must: str) -> UserError:
        return UserError(f"{self.where}: {claim}: {key} {must} (got {value!r})")

    def unknown(self, claim: str, what: str, value: Any, known: Iterable[str]) -> UserError:
        return UserError(f"{self.where}: {claim}: unknown {what} {value!r}; {accepted(str(value), known)}")

    def add(self, claim: Claim) -> None:
        if claim.id in self.claims:
            raise UserError(f"{self.where}: {claim.id} is given twice; every claim needs its own id")
        self.claims[claim.id] = claim

    def claim(self, name: str, body: Any) -> Claim:
        keys = (*_NEEDED, "figures", "tests", "same_as", "kind", *_WORDS)
        if not isinstance(body, dict):
            raise UserError(f"{self.where}: {name} must be a mapping of {', '.join(keys)}")
        for key in body:
            if key not in keys:
                raise self.unknown(name, "key", key, keys)
        for key in _NEEDED:
            if key not in body:
                raise UserError(f"{self.where}: {name}: {key} is missing")
        if not isinstance(body["page"], int):
            raise self.fail(name, "page", body["page"], "must be a whole number")
        kind = str(body.get("kind", ""))
        if kind and kind not in NAMED_KINDS:
            raise self.unknown(name, "kind", kind, NAMED_KINDS)
        figures = tuple(body.get("figures", ()))
        for figure in figures:
            self.check_figure(name, figure)
        return Claim(
            id=name,
            page=body["page"],
            section=str(body["section"]),
            figures=figures,
            says=str(body["says"]),
            value=str(body["value"]),
            tests=self.tests(name, body),
            named=kind,
            same_as=str(body.get("same_as", "")),
            **{key: str(body.get(key, "")) for key in _WORDS},
        )

    def tests(self, name: str, body: Mapping[str, Any]) -> tuple[Test, ...]:
        """Read a claim's tests; a claim that repeats another takes that claim's tests."""
        given, same_as = body.get("tests", []), str(body.get("same_as", ""))
        if not isinstance(given, list):
            raise self.fail(name, "tests", given, "must be a list")
        if same_as:
            if given or same_as not in self.claims:
                raise self.fail(name, "same_as", same_as, "must be a claim above, instead of tests")
            return self.claims[same_as].tests
        reasons = [key for key in ("external", "inconsistent") if body.get(key)]
        if given and "external" in reasons or not given and not reasons:
            raise UserError(
                f"{self.where}: {name}: give either tests, or external: why it is not this paper's to reproduce"
            )
        read = tuple(self.test(name, t) for t in given)
        if len({t.kind for t in read}) > 1:
            kinds = ", ".join(sorted({t.kind for t in read}))
            raise UserError(f"{self.where}: {name}: its tests are of several kinds ({kinds}); make a claim of each")
        return read

    def table(self, block: Any, errata: Mapping[str, Any]) -> list[Claim]:
        try:
            first, values = str(block["first"]), [str(v) for v in block["values"]]
            experiment, metric = str(block["experiment"]), str(block["metric"])
            page, section, table = int(block["page"]), str(block["section"]), str(block["table"])
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{self.where}: tables: must have first, page, section, table, experiment, metric and values (got {block!r})"
            ) from None
        self.check_metric(first, metric, COUNT_METRICS)
        self.check_experiment(first, experiment)
        names = list(self.experiments[experiment].architectures)
        if len(names) != len(values):
            raise self.fail(first, "values", len(values), f"must be {len(names)}, one for each network of {experiment}")
        self.check_figure(first, table)
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
            raise self.fail(name, "tests", body, "must be a mapping with a rule")
        for key in body:
            if key not in _KEYS:
                raise self.unknown(name, "key", key, _KEYS)
        rule, reduce = str(body.get("rule", "")), str(body.get("reduce", "each"))
        if rule not in RULES:
            raise self.unknown(name, "rule", rule, RULES)
        for key in (*RULES[rule], "of"):
            if key not in body:
                raise UserError(f"{self.where}: {name}: rule {rule} needs {key}")
        metric, minus = str(body.get("metric", "")), str(body.get("minus", ""))
        self.check_rule(name, rule, metric, body)
        if rule in ("greater", "smaller") and not minus and reduce == "each":
            raise UserError(f"{self.where}: {name}: rule {rule} needs minus: what it is compared with")
        thresholds = self.thresholds(name, metric, body)
        needs_regime = rule == "setting" or metric in RUN_METRICS or metric.startswith("trainable")
        of = self.selectors(name, body["of"], needs_regime)
        if minus:
            self.minus(name, minus)
        low, high, strict = self.region(name, rule, body)
        over = self.over(name, body["over"]) if "over" in body else None
        bounds = body.get("bounds", [-inf, inf])
        if not (isinstance(bounds, list) and len(bounds) == 2 and all(isinstance(b, int | float) for b in bounds)):
            raise self.fail(name, "bounds", bounds, "must be two numbers")
        return Test(
            rule=rule,
            metric=metric,
            of=of,
            minus=minus,
            over=over,
            reduce=reduce,
            low=low,
            high=high,
            strict=strict,
            thresholds=thresholds,
            bounds=(float(bounds[0]), float(bounds[1])),
            key=str(body.get("key", body.get("fact", ""))),
            expected=_plain(body.get("to")),
            words=in_words(rule, metric, body, low, high),
        )

    def check_rule(self, name: str, rule: str, metric: str, body: Mapping[str, Any]) -> None:
        """Refuse a metric, a reduction or a word that does not go with the rule."""
        if rule not in ("setting", "structure"):
            self.check_metric(name, metric, {**RUN_METRICS, **COUNT_METRICS})
        reduce = str(body.get("reduce", "each"))
        if reduce not in REDUCTIONS:
            raise self.unknown(name, "reduce", reduce, REDUCTIONS)
        counted = metric in COUNT_METRICS
        usable = COUNT_REDUCTIONS if counted else [r for r in REDUCTIONS if r not in ("largest_ratio", "exponent")]
        if reduce not in usable:
            raise self.fail(name, "reduce", reduce, f"must be one of {', '.join(usable)} with {metric}")
        if rule == "count" and metric != "failed":
            raise self.fail(name, "metric", metric, "must be failed with rule count, which counts runs")
        if rule == "setting" and body["key"] not in settings():
            raise self.unknown(name, "setting", body["key"], settings())
        if rule == "structure" and body["fact"] not in FACTS:
            raise self.unknown(name, "fact", body["fact"], FACTS)
        if rule in ("trend", "tendency") and body["direction"] not in ("rising", "falling"):
            raise self.fail(name, "direction", body["direction"], "must be rising or falling")

    def thresholds(self, name: str, metric: str, body: Mapping[str, Any]) -> tuple[float, ...]:
        raw = body.get("threshold", ())
        found = tuple(raw) if isinstance(raw, list) else (raw,) if raw else ()
        if (metric in WITH_THRESHOLD) != bool(found):
            must = f"must be given with {' and '.join(WITH_THRESHOLD)}, and only with them"
            raise self.fail(name, "threshold", body.get("threshold"), must)
        for threshold in found:
            if threshold not in SMALL:
                raise self.fail(name, "threshold", threshold, f"must be one of {', '.join(map(str, SMALL))}")
        return found

    def over(self, name: str, body: Any) -> Test:
        if not isinstance(body, dict):
            raise self.fail(name, "over", body, "must have metric and of")
        test = self.test(name, {"rule": "equals", "to": 0, **body})
        if test.kind != "count" or len(test.of) > 1 or test.of[0].relative or "+" in test.of[0].architectures:
            raise self.fail(name, "over", dict(body), "must be a count of one named network")
        return test

    def region(self, name: str, rule: str, body: Mapping[str, Any]) -> tuple[float, float, bool]:
        def number(key: str, default: float = 0.0) -> float:
            value = body.get(key, default)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self.fail(name, key, value, "must be a number")
            return float(value)

        tolerance, margin = number("tolerance"), number("margin")
        if tolerance < 0 or margin < 0:
            raise self.fail(name, "tolerance", tolerance, "must be 0 or more")
        if rule == "equals":
            return number("to") - tolerance, number("to") + tolerance, False
        if rule == "range":
            if number("low") > number("high"):
                raise self.fail(name, "low", body["low"], f"must be at most high, {body['high']}")
            return number("low") - tolerance, number("high") + tolerance, False
        if rule == "at_most":
            return -inf, number("to") + tolerance, False
        if rule in ("at_least", "count"):
            return number("to") - tolerance, inf, False
        if rule == "greater" or body.get("direction") == "rising":
            return margin, inf, True
        if rule == "smaller" or body.get("direction") == "falling":
            return -inf, 0.0 - margin, True
        return -inf, inf, False

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
                raise self.fail(name, "minus", text, "must name one network, or '=' for the same, and one regime")
        else:
            self.check_regime(name, text)

    def check_selector(self, name: str, selector: Selector, needs_regime: bool) -> None:
        self.check_experiment(name, selector.experiment)
        known = self.experiments[selector.experiment].architectures
        if not selector.relative:
            for architecture in selector.architectures.split("+"):
                if architecture not in known:
                    raise self.unknown(name, f"network of {selector.experiment}", architecture, [*known, *PLACES])
        for regime in selector.regimes:
            self.check_regime(name, regime)
        if needs_regime and not selector.regimes:
            raise self.fail(name, "of", selector.experiment, "must be EXPERIMENT/ARCHITECTURES/REGIME")

    def check_experiment(self, name: str, experiment: str) -> None:
        if experiment not in self.experiments:
            raise self.unknown(name, "experiment", experiment, self.experiments)

    def check_regime(self, name: str, regime: str) -> None:
        if regime != "*" and regime not in REGIMES:
            raise self.unknown(name, "regime", regime, REGIMES)

    def check_figure(self, name: str, figure: str) -> None:
        if self.figures and figure not in self.figures:
            raise self.unknown(name, "figure or table", figure, self.figures)

    def check_metric(self, name: str, metric: str, known: Iterable[str]) -> None:
        if metric not in known:
            raise self.unknown(name, "metric", metric, known)


def printed(text: str, where: str = "") -> tuple[Decimal, Decimal]:
    """Read a number as printed, and half a unit of its last digit: ``8.29K`` is 8290 and 5.

    Raises
    ------
    UserError
        If the text is not such a number.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KM]?)", text)
    if not match:
        raise UserError(f"{where}: value must be a number such as 650, 8.29K or 1.73M (got {text!r})")
    unit = {"": Decimal(1), "K": Decimal(1000), "M": Decimal(1_000_000)}[match[2]]
    value = Decimal(match[1])
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    # A count below a thousand is printed whole, and exact.
    half = Decimal(0) if not match[2] and exponent == 0 else Decimal(1).scaleb(exponent) / 2
    return value * unit, half * unit


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
