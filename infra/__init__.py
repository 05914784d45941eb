"""Deployment tools: the serving and the training stack, smoke tests, and a local cloud."""
