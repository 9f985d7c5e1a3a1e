"""The tables of docs/RESULTS.md: one module for each kind of record and of table."""
