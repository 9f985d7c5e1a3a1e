"""What the HTTP edge and the worker both know; no HTTP, no tensors."""
