"""What a training is, and from the configuration every training."""
