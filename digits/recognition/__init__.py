"""The page reader in development; not in service. The product reads with `digits.preprocess`."""
