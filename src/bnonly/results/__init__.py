"""The files of a cell: written atomically, checked when read, cached, locked."""
