"""The figures of the seminar: one colour, marker and line per method."""
