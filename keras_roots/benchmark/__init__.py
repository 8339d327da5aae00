"""Measurements of speed: interleaved, with their spread and conditions."""
