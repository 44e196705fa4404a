"""What providers are shown: keys and tokens, and where they are kept."""
