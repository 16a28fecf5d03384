"""AiiDA plugin that turns a crystal structure into a fine-tuned interatomic potential and its phonons."""

__version__ = '0.2.0'
