"""Transactions: several changes, in one store or in more, that happen all or not at all.

- `transaction` has what users hold; `unit` is one transaction from its begin to its end.
- `staging` is a store as the transaction sees it, `content` what it wrote and did not publish yet.
- `journal` has the logs in which a transaction decides, `records` the lines of a log.
- `commit` writes what is staged to the stores, invisible, and publishes it once it is decided, or undoes it.
- `steps` are the changes that wait for the decision, and the before-images.
- `recovery` ends the transactions of dead processes; `fsck` finds and removes what was left.
"""
