"""The rows behind assets/tables.json, on the functions of seminar and homework, and the margins of the seminar's claims.

A part is a generator of rows; its `s` holds the names of the seminar. The trainings are in runs.py.
"""

from __future__ import annotations
