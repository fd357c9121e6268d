"""Training of one cell: the engines, the schedule, checkpoints, and the run that ties them to files."""
