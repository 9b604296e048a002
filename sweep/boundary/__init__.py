"""The boundary between stable and unstable settings, as a model learns it from trials."""
