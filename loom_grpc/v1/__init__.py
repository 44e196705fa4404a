"""The generated messages and service stubs of `proto/loom_grpc/v1`, with their types; only this file is not generated."""
