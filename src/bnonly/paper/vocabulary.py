"""The vocabulary of claims: metrics, rules, reductions and regimes, and the wording of a rule (standard library only)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Metrics of a run; those with a second word take a threshold of |γ| or |β|.
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
#: Facts of a network that need no training.
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

#: Each rule with its required keys, besides `metric` and `of`.
RULES: dict[str, tuple[str, ...]] = {
    "equals": ("to",),
    "range": ("low", "high"),
    "at_most": ("to",),
    "at_least": ("to",),
    "greater": (),
    "smaller": (),
    "trend": ("direction",),
    "tendency": ("direction",),
    "count": ("to",),
    "setting": ("key", "to"),
    "structure": ("fact", "to"),
}
#: Rules that apply to a run on other data: they compare, without a size.
ORDERINGS = ("greater", "smaller", "trend", "tendency")
FACTS = ("stem_channels", "blocks", "layers", "shortcut", "stride", "downsampling_sets", "decayed")
#: Normalisation of every data set: by the mean and deviation of its own training images.
NORMALISATION = "per channel"
#: Reductions of several networks' values to one, with their words; "each": every network must pass by itself.
REDUCTIONS: dict[str, str] = {
    "each": "",
    "mean": "mean over the networks of the ",
    "min": "smallest ",
    "max": "largest ",
    "slope": "slope for a doubling of BatchNorm's parameters, of the ",
    "r": "Pearson's r with the logarithm of BatchNorm's parameters, of the ",
    "r2": "r² with the logarithm of BatchNorm's parameters, of the ",
    "log10_p": "log10 of the regression's p, of the ",
    "last_residual": "last network's residual from the regression line, of the ",
    "steeper": "by how many percent depth's slope is steeper than width's, of the ",
    "best_gap": "largest gap to the second line at the same count, in the ",
    "mean_gap": "mean gap to the second line at the same count, in the ",
    "stratum_gap": "mean gap between wider and narrowest networks at the same count, in the ",
    "largest_ratio": "largest ratio of two networks' ",
    "exponent": "power of the width that fits the ",
}
#: Reductions of counts.
COUNT_REDUCTIONS = ("each", "mean", "min", "max", "largest_ratio", "exponent")
PLACES = ("*", "first", "last", "lower", "upper", "but-last", "=")
#: Kinds of claims; a training can refute those of kind "result".
KINDS = ("result", "count", "setting", "axis", "definition", "external")
#: Kinds that a claim states itself; the others follow from its tests.
NAMED_KINDS = ("axis", "definition")

#: The regimes of the paper's figures and text, with their trained parts: (parts, random weights per filter).
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


def in_words(rule: str, metric: str, body: Mapping[str, Any], low: float, high: float) -> str:
    """Return the accepted values in words, on one line."""
    if rule == "setting":
        return f"{body['key']} is {_shown(body['to'])}"
    if rule == "structure":
        return f"{str(body['fact']).replace('_', ' ')}: {_shown(body['to'])}"
    what = {**RUN_METRICS, **COUNT_METRICS}[metric]
    if "threshold" in body:
        what += f", below {_shown(body['threshold'])}"
    if body.get("bounds"):
        what += f" {body['bounds'][0]:g} to {body['bounds'][1]:g}"
    text = REDUCTIONS[body.get("reduce", "each")] + what
    if body.get("minus"):
        minus = str(body["minus"])
        text += f", minus that of {minus.replace('=', 'the same network')}"
    if "over" in body:
        text += f", over the {COUNT_METRICS.get(body['over'].get('metric', ''), '')} of {body['over'].get('of', '')}"
    if rule == "trend":
        return f"{text}: {body['direction']} from network to network"
    if rule == "tendency":
        return f"{text}: {body['direction']} over the networks on the whole"
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
