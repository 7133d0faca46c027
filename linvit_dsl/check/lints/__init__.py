"""Warnings about specs that are sound but unlikely to be meant: one file per kind of finding.

Takes: graphs that elaboration has finished, and the root file's text. Gives: W03xx diagnostics.
Non-goals: anything that makes a spec wrong. A sound model of the literature gives no finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from linvit_dsl.check.lints.dead import unread_parameters
from linvit_dsl.check.lints.inferred import mistyped_axes
from linvit_dsl.check.lints.labels import unlabelled_weights
from linvit_dsl.check.lints.stream import unguarded_mixers
from linvit_dsl.check.lints.unused import unused_weights
from linvit_dsl.check.lints.writing import misleading_writing
from linvit_dsl.errors import Diagnostic, Span
from linvit_dsl.graph.ir import Graph

if TYPE_CHECKING:
    from linvit_dsl.check.program import Module


def of_block(graph: Graph, automatic: Mapping[str, str]) -> Iterator[Diagnostic]:
    """Findings about one specialised block.

    `automatic` has the slots that got their name from what is applied, and that word.
    """
    yield from unused_weights(graph)
    yield from unlabelled_weights(graph, automatic)


def of_model(graph: Graph, place: Span) -> Iterator[Diagnostic]:
    """Findings about a whole model, which is declared at `place`."""
    yield from unguarded_mixers(graph)
    yield from unread_parameters(graph, place)


def of_text(module: Module) -> Iterator[Diagnostic]:
    """Findings about how a file is written."""
    yield from misleading_writing(module)
    yield from mistyped_axes(module.file)
