"""Data-free meta-learning from a pool of frozen classifiers, as a library of its own."""
