"""Every figure that the README gives, each printed by a command; records say when and where."""
