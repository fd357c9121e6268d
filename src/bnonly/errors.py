"""The exception for errors that users can fix, and suggestions for misspelt words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix: a file, a key, a value.

    The message is one line with the cause and the remedy.  The command line prints it
    after ``bnonly: error:`` and exits with 2; the workflow prints it and stops.
    """


def accepted(word: str, known: Iterable[str]) -> str:
    """Return a suggestion for a word that was not accepted: the nearest spelling, or the accepted words.

    Parameters
    ----------
    word : str
        The word that was not accepted.
    known : iterable of str
        The accepted words.

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
