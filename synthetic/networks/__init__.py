"""Small networks of the real architectures, trained on rendered people, for tests and machines without other ones."""
