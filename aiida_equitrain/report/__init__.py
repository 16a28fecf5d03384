"""Pages (HTML) of a material, a study or a property, and their figures."""
