"""Units of work: transactions that are declared as classes.

The attributes of a `UnitOfWork` are repositories: folders with values of one kind, whose paths may have holes. `kinds`
has the kinds of values.
"""
