"""What `bridge check` finds: a table of kinds, rules that look at both sides, findings that name values.

`rules.check` is the door; `table.py` holds every finding there is; one room per part of the world holds its rules.
"""
