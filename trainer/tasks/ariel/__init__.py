"""Transmission spectra of exoplanets from the raw frames of the Ariel challenge."""
