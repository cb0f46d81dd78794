"""Audit: train the copier's models and measure what they learned."""
