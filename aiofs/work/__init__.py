"""Units of work: transactions that are declared as classes, with repositories for values of one kind each."""
