"""Public file formats: what a row of each asks the model, and, apart from it, what it says is right."""
