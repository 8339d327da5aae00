"""A model or a TFLite file on images: what it sees, and how often it is right."""
