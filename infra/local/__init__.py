"""The whole chain on one machine: a local cloud, a real deployment and real pictures."""
