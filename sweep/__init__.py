"""Stability sweeps for CTC-trained sign-language models."""
