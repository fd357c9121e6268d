"""`report.html`: a run's findings about the paper, in one self-contained file."""
