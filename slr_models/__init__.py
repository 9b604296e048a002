"""Continuous sign-language recognition models trained with CTC, and the data they train on."""
