"""Decide what to run, where, and what it meant.

Read `sweep.py` first: the life of a sweep from plan to leaderboard. Then, by question:

- what was asked for: `request`, `reading` (what `toml_file`, `template`, `overrides` and `groups`
  hold), `layering` (put over each other); `spellings`, `familiar` and `placeholders` for files of other
  programs; `compose` and `settings` for the run config, `explain` for what is wrong with it; `scale`
- what may vary: `space_table`, `axis`, `interval`, `group_axis`, `constraint`, `space`, `space_check`;
  `strategy/` proposes points and `draw` makes them runnable
- what will run: `plan`, `trial`; `preview` with `forecast`, `calibration` and `reuse`; `why`
- whether it fits: `fitting`, `automatic` (the tier that is chosen by memory), `tier_memory`; `lessons`
  is what out-of-memory taught the trials to come
- how it runs: `hardware`, `cohort`, `executors/` (through `trainer.fit`), `referee`, `signals`
- what is kept: `layout`, `ledger/`, `events`, `provenance`; `revision` and `fork` change a sweep that
  exists, `verify` proves it sound
- what is seen: `watch`, `progress`, `pace`, `progress_table`, `status`, `trial_page`, `leaderboard/`
- one checkpoint: `checkpoint_lookup`, `evaluation_page`; vocabularies: `tokenizer_table`
- from a text to a report: `pipeline/`, whose training is a sweep of one trial
- spectra: `spectra_prediction`, `spectra_table`; `journal/` is what `spectramind` writes of each command
- one trial alone: `replay`, `tier_question`; the installation: `preflight`, `doctor`, `shared_files`

`cli/` is thin, and only `cli/console.py` prints. Each room imports only from those below it
(`tests/test_architecture_imports.py`).
"""
