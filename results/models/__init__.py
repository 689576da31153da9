"""Any model by one name."""
