"""The one exception a user is meant to see, and how a misspelt word is answered."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right: a file, a key, a value.

    The message is one line that names the offender and says what would be right.  The command line prints it
    after ``bnonly: error:`` and exits with 2; the workflow prints it and stops.
    """


def accepted(word: str, known: Iterable[str]) -> str:
    """Say what would have been accepted instead of `word`, the nearest spelling first.

    Parameters
    ----------
    word : str
        What was given.
    known : iterable of str
        What is accepted.

    Returns
    -------
    str
        ``did you mean 'x'?`` or ``one of: a, b, c``.
    """
    names = [str(k) for k in known]
    near = difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    if near:
        return f"did you mean '{near[0]}'?"
    shown = ", ".join(names[:20]) + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
    return f"one of: {shown}" if names else "none is defined"
