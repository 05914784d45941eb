"""Model bundles, the registry that stores and promotes them, and the promotion gate."""
