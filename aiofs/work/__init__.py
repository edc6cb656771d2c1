"""Units of work: transactions that are declared as classes.

The attributes of a `UnitOfWork` are repositories: folders with values of one kind. `kinds` has the kinds of values,
`templates` the paths of folders with holes.
"""
