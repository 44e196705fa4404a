"""The revisions of the tables. Alembic runs `env.py` for each upgrade."""
