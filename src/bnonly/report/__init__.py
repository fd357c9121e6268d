"""`report.html`: what a run says of the paper, in one file that needs nothing else."""
