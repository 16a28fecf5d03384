"""Archives: write one of a result, check one of a stranger, compute it again."""
