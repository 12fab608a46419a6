"""Elasticity: an autoscaler, simulations of a fleet, and plans for a load."""
