"""Handles: what `open` returns, for reading, writing, editing and text."""
