"""The SQL truth: tables, sessions, repositories."""
