"""The command line: `fersweep VERB`."""
