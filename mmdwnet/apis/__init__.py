"""For people in Python: models by name, inferencers, what models cost."""
