"""The suites: each measures one property of every subject, in interleaved rounds.

Each module has `measure(roster, inputs, plan)`, which returns by the name of each subject the keys
that the suite adds to its row.
"""
