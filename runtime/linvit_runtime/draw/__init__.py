"""Diagrams of models: one drawing model, and writers for Graphviz, Mermaid and the terminal."""

from linvit_runtime.draw.assemble import picture
from linvit_runtime.draw.dot import to_dot
from linvit_runtime.draw.output import FORMATS, DrawProblem, MissingTool, check_output, render
from linvit_runtime.draw.picture import Arrow, Box, Frame, Picture
from linvit_runtime.draw.words import to_mermaid, to_text

__all__ = [
    "FORMATS",
    "Arrow",
    "Box",
    "DrawProblem",
    "Frame",
    "MissingTool",
    "Picture",
    "check_output",
    "picture",
    "render",
    "to_dot",
    "to_mermaid",
    "to_text",
]
