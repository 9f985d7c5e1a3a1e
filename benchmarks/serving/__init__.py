"""What the benchmarks of the running server share: deployments, records, ratios."""
