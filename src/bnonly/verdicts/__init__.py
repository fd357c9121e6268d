"""Test each claim of the paper against the results of a run."""
