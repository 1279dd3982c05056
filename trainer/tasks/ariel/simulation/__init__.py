"""Data sets in the challenge's layout, simulated from the physics up to the raw counts.

Read `planet.py` first: it makes one planet, from its star to its files.
"""

from __future__ import annotations

from trainer.tasks.ariel.simulation.built_in import built_in, built_in_hash
from trainer.tasks.ariel.simulation.recipe import Recipe
from trainer.tasks.ariel.simulation.simulate import simulate

__all__ = ["Recipe", "built_in", "built_in_hash", "simulate"]
