"""Embedded data sets and small checkpoints, and loaders of the full-scale data; README.md is the data card."""
