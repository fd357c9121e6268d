"""The paper's claims as data (``claims.yaml``), and the verdict of a run's results on each of them."""
