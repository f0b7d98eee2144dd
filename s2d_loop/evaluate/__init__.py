"""Measuring System 1 and System 2 on inputs that never train, and the gate that promotes or holds."""
