"""The configuration: YAML files laid over one another, and their values checked by models."""
