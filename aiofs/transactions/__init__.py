"""Transactions: several changes, in one store or more, that happen all or not at all."""
