"""The process that takes records from the broker into the ledger."""
