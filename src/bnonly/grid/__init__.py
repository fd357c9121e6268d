"""The definition of a training, and the configuration resolved into all trainings."""
