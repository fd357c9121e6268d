"""Beyond the paper: training γ alone and β alone, beside both.

CIFAR-type ResNets by depth; the untrained parameter stays at its initial value.
"""

from bnonly.figures.drawing.lines import View, accuracy
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.needs import Need
from bnonly.figures.values import Results, summary

NEEDS = (Need("beyond-affine", ("bn", "gamma_only", "beta_only")),)


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the figure."""
    accuracy(sheet, data, (View("beyond-affine"),), columns=1)
    means = summary(data.accuracy(data.panels[0])).groupby("regime", sort=False)["mean"].mean()
    said = [f"{data.labels[str(regime)]} {mean:.1f}%" for regime, mean in means.items()]
    sheet.find(f"Mean accuracy over the networks: {', '.join(said)}.")
