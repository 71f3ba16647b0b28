"""Small networks of the real architectures, trained on drawn people, for machines and tests that have no others."""
