"""What a call is and how it is judged, without any input or output."""
