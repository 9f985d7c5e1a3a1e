"""What ends the demo early, in words for the person who started it."""


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""
