"""Measures what a call and a streamed event cost, beside a bare gRPC handler and beside other gateways."""
