"""WorkChains: label, finetune, phonons, material."""
