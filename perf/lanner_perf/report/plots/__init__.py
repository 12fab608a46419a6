"""The plots of a report: black and white, each with words for who cannot see it."""
