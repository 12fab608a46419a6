"""The subjects: a process for each, the questions to it, and the texts of the workloads."""
