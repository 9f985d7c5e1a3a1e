"""The HTTP edge: parse, authorise, call one use case, shape the answer."""
