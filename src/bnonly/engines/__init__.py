"""Three engines for the same training step."""
