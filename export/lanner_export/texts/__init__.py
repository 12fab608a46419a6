"""Texts for calibration and labelled data for quality."""
