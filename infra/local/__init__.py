"""Run the whole chain on one machine: a local cloud, a deployment and real images."""
