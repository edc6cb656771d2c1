"""Transactions: several changes, in one store or in more, that happen all or not at all.

- `transaction` has what users hold; `unit` is one transaction from its begin to its end.
- `staging` is a store as the transaction sees it, `content` what it wrote and did not publish yet.
- `prepare` writes that to the stores, invisible; `steps` are the changes that wait, and the before-images.
- `journal` has the logs in which a transaction decides, `records` the lines of a log.
- `publish` publishes what was decided, or undoes it.
- `recovery` ends the transactions of dead processes; `fsck` finds and removes what was left.
"""
