"""Building what a configuration file lists: models, options, budgets."""
