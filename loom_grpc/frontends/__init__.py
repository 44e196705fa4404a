"""What callers over HTTP speak: one codec each, without input or output."""
