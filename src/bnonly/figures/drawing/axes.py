"""The x axes of the paper's histograms, from their tick labels (Figures 4 and 15-22; standard library only)."""

from __future__ import annotations

#: The first and last tick label; γ and β share one axis.
_BOTH = {
    "ResNet-14": (-1.5, 2.5),
    "ResNet-32": (-1.5, 2.5),
    "ResNet-56": (-1.0, 2.0),
    "ResNet-110": (-1.0, 1.5),
    "ResNet-218": (-0.75, 1.25),
    "ResNet-434": (-0.75, 1.0),
    "ResNet-866": (-0.75, 1.0),
    "WRN-14-1": (-1.5, 2.5),
    "WRN-14-2": (-1.5, 2.5),
    "WRN-14-4": (-1.0, 2.0),
    "WRN-14-8": (-1.0, 1.5),
    "WRN-14-16": (-0.75, 1.25),
    "WRN-14-32": (-0.75, 1.0),
    "ImageNet-ResNet-50": (-0.4, 1.0),
    "ImageNet-ResNet-101": (-0.3, 0.4),
}
#: By column of batchnorm.parquet and architecture.
PAPER_AXES: dict[str, dict[str, tuple[float, float]]] = {
    "gamma_end": {
        **_BOTH,
        "ImageNet-ResNet-18": (-0.5, 2.0),
        "ImageNet-ResNet-34": (-0.5, 1.5),
        "ImageNet-ResNet-200": (-0.4, 1.0),
        **dict.fromkeys(("VGG-11", "VGG-13", "VGG-16", "VGG-19"), (-0.5, 1.25)),
    },
    "beta_end": {
        **_BOTH,
        "ImageNet-ResNet-18": (-0.4, 1.0),
        "ImageNet-ResNet-34": (-0.4, 1.0),
        "ImageNet-ResNet-200": (-0.4, 0.6),
        **dict.fromkeys(("VGG-11", "VGG-13", "VGG-16", "VGG-19"), (-1.0, 1.0)),
    },
}
