"""Sides and columns of skip connections."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from linvit_runtime.draw.picture import Arrow
from linvit_runtime.draw.rails import Rail, place_rails

PLACES = {f"b{place}": place for place in range(12)}


def rails(*spans: tuple[int, int]) -> dict[tuple[int, int], tuple[str, int]]:
    arrows = [Arrow(f"b{start}", f"b{end}", "skip") for start, end in spans]
    return {(r.start, r.end): (r.side, r.column) for r in place_rails(arrows, PLACES)}


def test_residuals_one_after_the_other_share_a_column() -> None:
    assert rails((0, 3), (4, 7)) == {(0, 3): ("left", 0), (4, 7): ("left", 0)}


def test_nested_skips_stay_on_one_side() -> None:
    placed = rails((0, 8), (1, 7), (2, 6))
    assert placed == {(0, 8): ("left", 2), (1, 7): ("left", 1), (2, 6): ("left", 0)}


def test_what_would_cross_goes_to_the_other_side() -> None:
    """The skips of a pooled attention, and a class token that passes its middle."""
    placed = rails((0, 8), (1, 7), (2, 6), (0, 4), (5, 10))
    assert placed[0, 4] == ("right", 0)
    assert placed[5, 10] == ("right", 0)


spans = st.tuples(st.integers(0, 10), st.integers(1, 11)).filter(lambda span: span[0] < span[1])


@given(st.lists(spans, max_size=8, unique=True))
def test_rails_that_overlap_have_columns_of_their_own(chosen: list[tuple[int, int]]) -> None:
    arrows = [Arrow(f"b{start}", f"b{end}", "skip") for start, end in chosen]
    placed = place_rails(arrows, PLACES)
    assert len(placed) == len(chosen)
    for one, other in combinations(placed, 2):
        if one.side == other.side and overlap(one, other):
            assert one.column != other.column


def overlap(one: Rail, other: Rail) -> bool:
    return one.start < other.end and other.start < one.end
