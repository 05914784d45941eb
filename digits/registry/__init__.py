"""Model bundles, and the registry that keeps them and says which one is in service."""
