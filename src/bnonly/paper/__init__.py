"""The paper's claims, as data."""
