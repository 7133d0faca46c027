"""Write `index.md` beside this file anew from the catalogue of diagnostics."""

from pathlib import Path

from linvit_dsl.errors.explain import index

Path(__file__).with_name("index.md").write_text(index(), encoding="utf-8")
