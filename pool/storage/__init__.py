"""Checkpoint bytes: one protocol, a directory or an S3 store behind it."""
