"""One training step, by three engines that compute the same."""
