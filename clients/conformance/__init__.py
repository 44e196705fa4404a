"""Compares the clients of all languages: hands them one table of cases and judges what they answer."""
