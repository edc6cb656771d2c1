"""Azurite, the emulator of Azure blobs."""
