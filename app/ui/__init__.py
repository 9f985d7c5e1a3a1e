"""The web UI: static pages that speak to the public API with the caller's own key."""
