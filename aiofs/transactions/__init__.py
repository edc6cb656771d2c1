"""Transactions: several changes, in one store or more, that happen all or not at all.

`content` and `staging` are what a transaction sees and keeps to itself; `preparing`, `journal` and `publishing` how it
is decided and published; `recovery` and `checking` how what a crash left is put in order; `system`, `uow` and what it
stands on what users hold.
"""
