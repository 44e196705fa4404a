"""Counters of what callers use: of one host's processes in a file that they share, or of several hosts in Redis."""
