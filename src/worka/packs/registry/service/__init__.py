"""The use cases of the registry, split by what they are about."""
