"""Other runtimes: their environments, their model files, and checks that their answers agree."""
