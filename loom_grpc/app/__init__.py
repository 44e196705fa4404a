"""The composition root: a configuration becomes a gateway. The only package that knows every other."""

from loom_grpc.app.gateway import App

__all__ = ["App"]
