"""What the paper claims, as data."""
