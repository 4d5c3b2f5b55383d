"""Figures beside peers: `python -m tests.benchmarks [rows]`.

A row is one file here that holds `ROW`; its name is the file's. `_frame.py` says what a row can use.
"""
