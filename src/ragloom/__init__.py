"""Compose, run and measure retrieval-augmented generation pipelines."""
