"""Toolkit of the course *Large Scale Deep Learning Models*: data, checks, claims, notebook runs and grading.

`import lsdl` is light (no torch), because the setup cell of every notebook imports it before anything is installed.
"""

from lsdl.setup_week import setup

__all__ = ["setup"]
__version__ = "2026.1"
