"""The plots of a report: black and white, each with a description in words."""
