"""Measurements that anyone can repeat; what they found is in docs/EXPERIMENTS.md."""
