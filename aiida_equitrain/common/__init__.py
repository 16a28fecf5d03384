"""Names, enumerations and units; imports nothing of ours."""
