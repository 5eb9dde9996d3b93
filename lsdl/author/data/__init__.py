"""Builds the embedded data and their card, trains and measures the small checkpoints of lsdl/data."""
