"""The verbs of the command line as functions, one file a verb, named as the verb."""
