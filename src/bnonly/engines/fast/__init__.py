"""The fast engine: networks with frozen weights, trained with less work and memory than stock PyTorch needs."""
