"""Check a deployment: settings, services, host, workers; say what to do about each fault."""
