"""Which variants a baseline is compared with, and how their trials are started.

Read `settings.py` first: what `ablation.…` may say. `baseline.py` reads the point that the others
are compared with, `variants.py` turns the axes of a request into a space around it. Planning,
training and ranking are those of every sweep; the statistics are in `leaderboard/paired.py`.
"""
