"""Train, evaluate, export and publish the network. TensorFlow lives here and nowhere else."""
