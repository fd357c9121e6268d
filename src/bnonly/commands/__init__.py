"""The command line: ``bnonly NAME`` is in the file of that name."""
