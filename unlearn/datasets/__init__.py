"""Labelled pictures as tensors: what surrogates and victims are trained on."""
