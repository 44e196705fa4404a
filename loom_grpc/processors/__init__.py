"""What happens to every call on its way to the models, one thing a file; each is a handler around the next."""
