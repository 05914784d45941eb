"""Development pictures: MNIST strokes painted as photographs, with known answers."""
