"""What models speak: a dialect each, and the one driver that talks HTTP to them."""
