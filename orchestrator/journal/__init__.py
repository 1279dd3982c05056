"""What was asked for in a folder, and how it ended: three files that a person can read years later.

- `logs/v50_debug_log.md`: a section a command: what was typed, what was said, how it ended
- `logs/events.jsonl`: the same as it happens, one JSON object a line
- `run_hash_summary_v50.json`: each time a run was trained or read, with the hashes of what made it

Read `journal.py` first. Several processes may write at once; a file that cannot be written costs no
training; nothing that was there is lost. `docs/artifacts.md` describes each field.
"""
