"""Train the digit network: architectures, recipes, training data, augmentation and the fit."""
