"""Compiled code of the models that are one file each."""
