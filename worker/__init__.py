"""The Celery edge: claim a job row, run it in a child process, record the outcome."""
