"""Receipts: what a call sent and got, written so that anyone can check it."""
