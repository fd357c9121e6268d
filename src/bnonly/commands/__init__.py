"""The command line: the file NAME.py holds ``bnonly NAME``."""
