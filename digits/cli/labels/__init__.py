"""`digits labels …`: what an operator does with the labels of a deployed stack."""
