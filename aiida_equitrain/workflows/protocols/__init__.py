"""Protocol files of the WorkChains."""
