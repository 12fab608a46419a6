"""The subjects: a process each, its questions and its texts."""
