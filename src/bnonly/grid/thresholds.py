"""Thresholds of Section 5 that figures, analyses and claims share."""

from __future__ import annotations

#: Magnitudes below which a gamma or beta is small: in the clamping of Section 5, in Figures 5 and 6, and in the claims.
SMALL = (0.01, 0.05, 0.1)
