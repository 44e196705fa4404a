"""What is known of models: how much they take, what they can do and what they cost."""

from loom_grpc.catalogue.catalogue import Catalogue, Place

__all__ = ["Catalogue", "Place"]
