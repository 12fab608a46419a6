"""The machine: cores, CPU instructions, GPU, signals."""
