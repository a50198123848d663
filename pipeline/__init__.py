"""The jobs: one file a stage, named as its verb; the only place for Beam and the command line.

`cli` parses, `arguments` says what each command takes, `recipes` names complete runs, `artifacts`
keeps every output directory honest. A stage is its own process and imports what it needs itself.
"""
