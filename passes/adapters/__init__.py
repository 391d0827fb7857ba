"""Passes over adapters: small branches that were trained beside fixed weights."""
