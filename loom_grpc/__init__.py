"""One typed contract for every LLM provider, over gRPC and HTTP; `loom_grpc.client` is the way in."""

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
