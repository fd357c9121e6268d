"""The configuration: YAML files laid over one another, and their values read by kind."""
