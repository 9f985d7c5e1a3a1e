"""What each kind of job does, once claimed."""
