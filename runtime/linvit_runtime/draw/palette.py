"""Colours by meaning: five hues for what a reader looks for, grey for the glue between.

Chosen for the smallest difference between any two fills (CIE76, in normal vision and in simulated
protanopia, deuteranopia and tritanopia): at least 15 in light, 14 in dark. Text on a fill has a
contrast of at least 8.2 : 1 in light and 6.6 : 1 in dark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours as `#RRGGBB`. `families` gives fill and line by operator family."""

    page: str
    ink: str
    detail: str
    edge: str
    residual: str
    frame_line: str
    frame_fills: tuple[str, ...]
    badge: str
    badge_ink: str
    families: Mapping[str, tuple[str, str]]


LIGHT = Theme(
    page="#FFFFFF",
    ink="#1A1A1A",
    detail="#3A3F46",
    edge="#3C3C3C",
    residual="#8C8C8C",
    frame_line="#B8C0CA",
    frame_fills=("#F6F7F9", "#ECEFF3", "#E2E7ED"),
    badge="#1A1A1A",
    badge_ink="#FFFFFF",
    families={
        "softmax_attention": ("#9BB6F5", "#2F55B0"),
        "linear_attention": ("#EBAC92", "#A14A24"),
        "linear": ("#8FE9BD", "#12775A"),
        "convolution": ("#EDD67E", "#856A0E"),
        "memory": ("#CDA7C4", "#7D4A78"),
        "norm": ("#E9ECF0", "#6B7380"),
        "glue": ("#E9ECF0", "#6B7380"),
    },
)

DARK = Theme(
    page="#15181C",
    ink="#F2F4F7",
    detail="#D3D9E0",
    edge="#C3CAD3",
    residual="#87919D",
    frame_line="#4A525C",
    frame_fills=("#1C2026", "#242A31", "#2C333B"),
    badge="#F2F4F7",
    badge_ink="#15181C",
    families={
        "softmax_attention": ("#3E5485", "#8FBCF0"),
        "linear_attention": ("#562F0C", "#E39A66"),
        "linear": ("#1D442D", "#7FD6AC"),
        "convolution": ("#595A0B", "#DEDE86"),
        "memory": ("#441E60", "#DCA0DC"),
        "norm": ("#2A3038", "#8B95A3"),
        "glue": ("#2A3038", "#8B95A3"),
    },
)

THEMES = {"light": LIGHT, "dark": DARK}
