"""From a text to a report: set-up, tokenizer, training with evaluations, final evaluation.

Read `stages.py` first: the stages in their order, and what a kill leaves behind. `request.py`
is what was asked for, `record.py` what is kept of it and of each stage (`pipeline.json`),
`training.py` trains in segments with an evaluation after each, `evaluations.py` keeps them.
`report.py` says what happened as a `document.py`, which `markdown.py` and `html.py` write.

The directory of a pipeline is a run directory: the training in it is a sweep of one trial, and
every command that takes a run takes it.
"""
