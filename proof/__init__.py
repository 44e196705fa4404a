"""Runs what docs/proof.md shows, keeps the raw results, and writes the page from them."""
