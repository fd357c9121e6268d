"""Results that the paper states in its text, without a figure: Figure 1 read otherwise, footnote 5, E.1 and E.2."""

from bnonly.figures.tables import comparisons
from bnonly.figures.tables.counts import Counts
from bnonly.figures.tables.layout import Table
from bnonly.figures.values import Results

E1 = "E.1: no discernible effect on accuracy"
E2 = "E.2: did not change performance"

#: Regime, its original, and the paper's statement about it.
COMPARISONS = (
    ("all_affine_frozen", "all", "Figure 1, read otherwise: 0.5% to 2% lower without γ and β"),
    ("all_affine_frozen", "all_noaffine", "Figure 1, read otherwise: the two readings of “disabled”"),
    ("bn_he_uniform", "bn", E1),
    ("bn_binary", "bn", E1),
    ("bn_orthogonal", "bn", E1),
    ("bn_gamma_one", "bn", E2),
    ("bn_gamma_centred", "bn", E2),
    ("rand2_layer", "rand2", "Footnote 5: the same or lower"),
)
#: The experiment with the regimes, and the one with their originals.
EXPERIMENTS = (("text-depth", "cifar-depth"), ("text-width", "cifar-width"))
NEEDS = comparisons.needs(EXPERIMENTS, COMPARISONS)


def build(data: Results, counted: Counts) -> Table:
    """Make the table."""
    title = "Results stated in the text: final test accuracy in percent, mean ± standard deviation."
    return comparisons.build(data, EXPERIMENTS, COMPARISONS, title)
