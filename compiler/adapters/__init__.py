"""Adapters that come in files of their own, and the models that they were trained on."""
