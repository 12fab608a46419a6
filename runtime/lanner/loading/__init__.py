"""From an artifact to a model in process: selection of variant and engine, configuration."""
