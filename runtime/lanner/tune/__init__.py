"""The search for what is fastest on this machine."""
