"""Shared drawing code of the figures."""
