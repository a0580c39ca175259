"""Scripted stand-ins for tests; nothing outside tests/ may use them."""
