"""The exception for errors that users can fix, and suggestions for misspelt words."""

from __future__ import annotations

import difflib
import re
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
    # As text, fig25 is nearer to fig2 than fig02 is.
    spelt = {_padded(name): name for name in names}
    near = difflib.get_close_matches(_padded(str(word)), spelt, n=1, cutoff=0.5)
    if near:
        return f"did you mean '{spelt[near[0]]}'?"
    shown = ", ".join(names[:20]) + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
    return f"one of: {shown}" if names else "none is defined"


def _padded(text: str) -> str:
    """Return a text with its numbers padded to at least two digits."""
    return re.sub(r"\d+", lambda number: number[0].zfill(2), text)
