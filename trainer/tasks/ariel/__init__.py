"""The Ariel Data Challenge: transit spectra of exoplanets, with their uncertainty."""
