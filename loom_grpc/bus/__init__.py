"""Brokers between servers and the database."""
