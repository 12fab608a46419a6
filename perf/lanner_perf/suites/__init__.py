"""The suites: each measures one thing of every subject, in interleaved rounds.

Each module has `measure(roster, inputs, plan)`, which gives the keys of each row by the name of its
subject.
"""
