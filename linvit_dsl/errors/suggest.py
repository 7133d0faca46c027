"""Did you mean: the known word that a mistyped one stands for."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate closest to `word`, or None when none is close enough to be a typing error.

    A candidate that differs in case only is always taken; otherwise one edit (insert, delete,
    replace, swap two neighbours) is allowed for every three characters, and one for shorter
    words. Of equally close candidates the first is taken.
    """
    known = tuple(candidates)
    for candidate in known:
        if candidate.casefold() == word.casefold():
            return candidate
    best, fewest = None, max(1, len(word) // 3) + 1
    for candidate in known:
        if abs(len(candidate) - len(word)) < fewest:
            edits = distance(word, candidate)
            # All letters replaced is no typing error: `q` is not meant by `k`.
            if edits < fewest and edits < max(len(word), len(candidate)):
                best, fewest = candidate, edits
    return best


def distance(left: str, right: str) -> int:
    """Edits that turn `left` into `right`, no character edited twice (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, own in enumerate(left, 1):
        before, last, row = row, before, [i]
        for j, other in enumerate(right, 1):
            edits = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (own != other))
            if i > 1 and j > 1 and own == right[j - 2] and left[i - 2] == other:
                edits = min(edits, last[j - 2] + 1)
            row.append(edits)
    return row[-1]
