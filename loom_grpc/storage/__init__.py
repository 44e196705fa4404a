"""The database: accounts and their records, encrypted where they are secret."""
