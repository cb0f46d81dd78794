"""Noise generators: artefacts, their headers, where they come from, and how they are trained."""
