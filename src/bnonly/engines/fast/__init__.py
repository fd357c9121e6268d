"""Networks of frozen and trained weights with less work and less memory than stock PyTorch needs; no engine, no data."""
