"""Names as lists order them and searches find them: without regard to case, the same everywhere."""

import sys

KEY_CHARS = 200
LAST, SURROGATES = chr(sys.maxunicode), ("\ud800", "\ue000")


def name_key(name: str) -> str:
    """What a name is ordered and found by. Folded here: databases disagree about letters' case."""
    return name.casefold()[:KEY_CHARS]


def after_prefix(prefix: str) -> str | None:
    """The least text that is greater than all that begin with the prefix, by code points.

    None where there is none. Databases order UTF-8 by bytes, which is the order of code points.
    """
    kept = prefix.rstrip(LAST)
    if not kept:
        return None
    following = chr(ord(kept[-1]) + 1)
    first, beyond = SURROGATES
    return kept[:-1] + (beyond if first <= following < beyond else following)
