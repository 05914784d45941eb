"""Train, evaluate, export and publish the networks. No other package imports TensorFlow."""
